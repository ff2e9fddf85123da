// The conversation as it is known so far. Decides only; transcript_view.js draws it.

/**
 * @typedef {object} Entry
 * @property {string} id the segment's id
 * @property {"user"|"agent"} who
 * @property {string} text all that is known of it
 * @property {number} firm how many characters of the text won't change
 * @property {boolean} done
 * @property {boolean} cut the agent was interrupted here
 */

const SENTENCE_END = /[.!?…。！？]["”’)]*\s*$/;

/** How long after the agent fell silent the caller's first partial may come in, in milliseconds. */
const CUT_WINDOW_MS = 1500;

export class Transcript {
  /** @param {() => number} clock milliseconds */
  constructor(clock = () => performance.now()) {
    this.clock = clock;
    /** @type {Map<string, Entry>} */
    this.entries = new Map();
    this.lastAgent = null;
    this.lastAgentEnd = -Infinity;
    this.userSpokeAt = -Infinity;
  }

  /** A transcript of the caller's words so far; each partial replaces the one before. */
  user(id, text, final) {
    const entry = this.#entry(id, "user");
    entry.firm = final ? text.length : agreement(entry.text, text);
    entry.text = text;
    entry.done = final;
    this.userSpokeAt = this.clock();
    const agent = this.lastAgent;
    if (agent?.done && this.clock() - this.lastAgentEnd < CUT_WINDOW_MS) return [entry, ...this.#cut(agent)];
    return [entry];
  }

  /** What the caller typed. */
  typed(id, text) {
    const entry = this.#entry(id, "user");
    Object.assign(entry, { text, firm: text.length, done: true });
    this.userSpokeAt = this.clock();
    return [entry];
  }

  /** More of the agent's words, as they are heard. */
  agent(id, text) {
    const entry = this.#entry(id, "agent");
    entry.text += text;
    entry.firm = entry.text.length;
    this.lastAgent = entry;
    return [entry];
  }

  /** The agent's utterance is over: spoken to its end, or cut off. */
  agentEnd(id) {
    const entry = this.entries.get(id);
    if (!entry || entry.done) return [];
    entry.done = true;
    this.lastAgentEnd = this.clock();
    if (this.clock() - this.userSpokeAt < CUT_WINDOW_MS) this.#cut(entry);
    return [entry];
  }

  /** The agent's record says that its last answer was cut off. */
  interrupted() {
    return this.lastAgent ? this.#cut(this.lastAgent) : [];
  }

  // A greeting has no record, and the transcript does not say why it ended. It was cut off if it
  // stops within a sentence while the caller speaks.
  #cut(entry) {
    if (entry.cut || SENTENCE_END.test(entry.text)) return [];
    entry.cut = true;
    return [entry];
  }

  #entry(id, who) {
    let entry = this.entries.get(id);
    if (!entry) {
      entry = { id, who, text: "", firm: 0, done: false, cut: false };
      this.entries.set(id, entry);
    }
    return entry;
  }
}

/** How many characters two partials in a row agree on, up to a word's end. */
export function agreement(before, after) {
  let same = 0;
  while (same < before.length && same < after.length && before[same] === after[same]) same += 1;
  if (same === after.length || (same === before.length && after[same] === " ")) return same;
  return after.lastIndexOf(" ", same - 1) + 1;
}
