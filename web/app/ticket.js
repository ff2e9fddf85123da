// The way back into a call for a page that is loaded anew: its token, kept in this tab. Whoever comes
// back within half a minute meets the same agent; a token of a room that has closed opens it again.

const BACK_WITHIN_MS = 30_000;

export class Ticket {
  /** @param {string} name of the kind of call: one over a WebSocket is no way into a room */
  constructor(storage = globalThis.sessionStorage, now = Date.now, name = "call") {
    this.storage = storage;
    this.now = now;
    this.name = name;
  }

  /** Keeps what a call was joined with; it can be taken up again once it was left. */
  keep(wish, grant, { microphone = true } = {}) {
    this.#write({ wish: same(wish), choices: wish.choices ?? {}, grant, microphone, leftAt: 0 });
  }

  /** The page goes, or its connection has. */
  left({ microphone } = {}) {
    const kept = this.#read();
    if (kept) this.#write({ ...kept, microphone: microphone ?? kept.microphone, leftAt: this.now() });
  }

  /** The caller has hung up. */
  drop() {
    this.storage.removeItem(this.name);
  }

  /** What the call was joined with, if it was left just now and the same is wished for; else null. */
  take(wish) {
    const kept = this.#valid();
    return kept && kept.wish === same(wish) ? kept.grant : null;
  }

  /**
   * The call that waits for this tab, and for how long yet, in milliseconds; else null.
   * @returns {?{choices: Object<string, string>, microphone: boolean, forMs: number}}
   */
  waiting() {
    const kept = this.#valid();
    if (!kept) return null;
    return { choices: kept.choices, microphone: kept.microphone, forMs: kept.leftAt + BACK_WITHIN_MS - this.now() };
  }

  #valid() {
    const kept = this.#read();
    const now = this.now();
    if (!kept || now > kept.leftAt + BACK_WITHIN_MS) return null;
    const token = kept.grant.participant_token;
    return token && now > expiry(token) ? null : kept;
  }

  #read() {
    try {
      return JSON.parse(this.storage.getItem(this.name));
    } catch {
      return null;
    }
  }

  #write(kept) {
    this.storage.setItem(this.name, JSON.stringify(kept));
  }
}

function same({ agentName, choices }) {
  return JSON.stringify([agentName, Object.entries(choices ?? {}).sort()]);
}

function expiry(token) {
  const claims = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  return JSON.parse(atob(claims)).exp * 1000;
}
