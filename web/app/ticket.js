// The way back into a call for a page that is loaded anew: its token, kept in this tab. Whoever comes
// back within half a minute meets the same agent; a token of a room that has closed opens it again.

const NAME = "call";
const BACK_WITHIN_MS = 30_000;

export class Ticket {
  constructor(storage = globalThis.sessionStorage, now = Date.now) {
    this.storage = storage;
    this.now = now;
  }

  /** Keeps what a call was joined with; it can be taken up again once it was left. */
  keep(wish, grant) {
    this.#write({ wish: same(wish), grant, leftAt: 0 });
  }

  /** The page goes, or its connection has. */
  left() {
    const kept = this.#read();
    if (kept) this.#write({ ...kept, leftAt: this.now() });
  }

  /** The caller has hung up. */
  drop() {
    this.storage.removeItem(NAME);
  }

  /** What the call was joined with, if it was left just now and the same is wished for; else null. */
  take(wish) {
    const kept = this.#read();
    const now = this.now();
    if (!kept || kept.wish !== same(wish)) return null;
    if (now > kept.leftAt + BACK_WITHIN_MS || now > expiry(kept.grant.participant_token)) return null;
    return kept.grant;
  }

  #read() {
    try {
      return JSON.parse(this.storage.getItem(NAME));
    } catch {
      return null;
    }
  }

  #write(kept) {
    this.storage.setItem(NAME, JSON.stringify(kept));
  }
}

function same({ agentName, choices }) {
  return JSON.stringify([agentName, Object.entries(choices ?? {}).sort()]);
}

function expiry(token) {
  const claims = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  return JSON.parse(atob(claims)).exp * 1000;
}
