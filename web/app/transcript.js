// The conversation as it is known so far, a bubble for each turn. Decides only; transcript_view.js
// draws it.

/**
 * @typedef {object} Part one segment of a turn, as the recogniser tells them
 * @property {string} id
 * @property {string} text
 * @property {number} firm how many of its characters won't change
 * @property {boolean} done
 * @property {boolean} over it was said over the agent
 * @property {number} at when it last changed, in milliseconds
 *
 * @typedef {object} Entry
 * @property {string} id of its first segment
 * @property {"user"|"agent"} who
 * @property {string} text all that is known of it
 * @property {number} firm how many characters of the text won't change
 * @property {number} heard of an answer that was cut off, the characters that were heard
 * @property {boolean} done
 * @property {boolean} cut the agent was interrupted here
 * @property {boolean} aside said over the agent, and no turn of its own
 * @property {boolean} typed
 * @property {{name: string, at: number}[]} cast who speaks, from which character on
 * @property {Part[]} parts
 */

const SENTENCE_END = /[.!?…。！？]["”’)]*\s*$/;
const SENTENCE_STARTS = /[.!?…。！？]["”’)]*\s+/g;
const WITHOUT_SPACES = /[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff。！？，、]$/;
const LETTERS = /[\p{L}\p{N}]/u;

/** How long after the agent fell silent the caller's first partial may come in, in milliseconds. */
const CUT_WINDOW_MS = 1500;

/** A partial to which nothing more came for so long never becomes a final one. */
const SETTLED_MS = 6000;

/** A speaker's name may come a little after the first words. */
const LATE_NAME_MS = 1500;

/** How far a speaker's first words may lie from where they were counted to be, in characters. */
const NEAR = 40;

export class Transcript {
  /** @param {() => number} clock milliseconds */
  constructor(clock = () => performance.now()) {
    this.clock = clock;
    /** @type {Entry[]} in the order in which they are shown */
    this.order = [];
    /** @type {Map<string, Entry>} by each segment's id */
    this.entries = new Map();
    this.lastAgent = null;
    this.lastAgentEnd = -Infinity;
    this.userSpokeAt = -Infinity;
    this.castToCome = null;
  }

  /** A transcript of the caller's words so far; each partial replaces the one before. */
  user(id, text, final) {
    const entry = this.entries.get(id) ?? this.#turnOfCaller(id);
    const part = entry.parts.find((one) => one.id === id) ?? this.#part(entry, id);
    part.firm = final ? text.length : agreement(part.text, text);
    part.text = text;
    part.done = final;
    part.at = this.clock();
    this.#join(entry);
    this.userSpokeAt = this.clock();
    const agent = this.lastAgent;
    if (agent?.done && this.clock() - this.lastAgentEnd < CUT_WINDOW_MS) return [entry, ...this.#cut(agent)];
    return [entry];
  }

  /** What the caller typed. */
  typed(id, text) {
    const entry = this.#add(id, "user");
    Object.assign(entry, { text, firm: text.length, done: true, typed: true });
    this.userSpokeAt = this.clock();
    return [entry];
  }

  /** More of the agent's words; `ahead` of the voice, which `spoken` then follows. */
  agent(id, text, { ahead = false } = {}) {
    let entry = this.entries.get(id);
    if (!entry) {
      entry = this.#add(id, "agent");
      entry.cast = this.castToCome ?? [];
      this.castToCome = null;
    }
    entry.text += text;
    if (!ahead) entry.firm = entry.text.length;
    this.lastAgent = entry;
    return [entry];
  }

  /** The voice has come so far in an answer whose words went ahead of it. */
  spoken(id, text) {
    const entry = this.entries.get(id);
    if (!entry) return [];
    entry.voiced = (entry.voiced ?? "") + text;
    entry.firm = reach(entry.text, entry.voiced);
    return [entry];
  }

  /** One of several characters begins, after `at` characters of the answer. */
  speaker(name, at) {
    const current = this.lastAgent && !this.lastAgent.done ? this.lastAgent : null;
    const late = current && current.cast.length === 0 && this.clock() - current.begunAt < LATE_NAME_MS;
    if (current && (at > 0 || late)) {
      current.cast.push({ name, at });
      current.cast.sort((a, b) => a.at - b.at);
      return [current];
    }
    if (at === 0) this.castToCome = [];
    (this.castToCome ??= []).push({ name, at });
    return [];
  }

  /** The agent's utterance is over: spoken to its end, or cut off. */
  agentEnd(id, { interrupted = false } = {}) {
    const entry = this.entries.get(id);
    if (!entry || entry.done) return [];
    entry.done = true;
    this.lastAgentEnd = this.clock();
    if (interrupted) {
      entry.cut = true;
      if (entry.voiced !== undefined && entry.firm < entry.text.trimEnd().length) entry.heard = entry.firm;
    }
    entry.firm = entry.text.length;
    if (!entry.cut && this.clock() - this.userSpokeAt < CUT_WINDOW_MS) this.#cut(entry);
    return [entry];
  }

  /** The agent's record says that its last answer was cut off. */
  interrupted() {
    return this.lastAgent ? this.#cut(this.lastAgent) : [];
  }

  /**
   * Settles partials that never became final: what was said over the agent stands as an aside,
   * anything else was no speech, and goes. A final that comes after all brings it back.
   */
  settle({ all = false } = {}) {
    const changed = [];
    for (const entry of this.order) {
      const open = entry.parts.filter((part) => !part.done && (all || this.clock() - part.at >= SETTLED_MS));
      if (!open.length || entry.who === "agent") continue;
      for (const part of open) {
        part.done = true;
        if (part.over) part.firm = part.text.length;
        else part.text = "";
      }
      entry.aside = entry.parts.every((part) => !part.text || (part.over && open.includes(part)));
      this.#join(entry);
      changed.push(entry);
    }
    if (all && this.lastAgent && !this.lastAgent.done) changed.push(...this.agentEnd(this.lastAgent.id));
    return changed;
  }

  /** Whether anything was said. */
  get empty() {
    return !this.order.some((entry) => entry.text);
  }

  /** To be kept in the tab. */
  toJSON() {
    return this.order.filter((entry) => entry.text);
  }

  /** Puts back what `toJSON` gave, before anything else is said. */
  restore(kept) {
    for (const entry of kept) {
      if (typeof entry?.text !== "string" || !["user", "agent"].includes(entry.who)) continue;
      const id = `kept-${this.order.length}`;
      const { text, heard = null, cut = false, aside = false, typed = false, cast = [] } = entry;
      Object.assign(this.#add(id, entry.who), { text, heard, cut, aside, typed, cast, firm: text.length, done: true, old: true });
    }
    return this.order;
  }

  #turnOfCaller(id) {
    const last = this.order.findLast((entry) => entry.text && !entry.aside);
    if (last?.who === "user" && !last.typed && !last.old) {
      this.entries.set(id, last);
      return last;
    }
    return this.#add(id, "user");
  }

  #part(entry, id) {
    const over = Boolean(this.lastAgent && !this.lastAgent.done);
    const part = { id, text: "", firm: 0, done: false, over, at: this.clock() };
    entry.parts.push(part);
    return part;
  }

  #join(entry) {
    entry.text = "";
    entry.firm = 0;
    let firm = true;
    for (const part of entry.parts) {
      if (!part.text) continue;
      if (entry.text && !WITHOUT_SPACES.test(entry.text)) entry.text += " ";
      if (firm) entry.firm = entry.text.length + part.firm;
      firm &&= part.done;
      entry.text += part.text;
    }
    entry.done = entry.parts.every((part) => part.done);
    if (entry.parts.some((part) => part.done && part.text && !part.over)) entry.aside = false;
  }

  // A greeting has no record, and the transcript does not say why it ended. It was cut off if it
  // stops within a sentence while the caller speaks.
  #cut(entry) {
    if (entry.cut || SENTENCE_END.test(entry.text)) return [];
    entry.cut = true;
    return [entry];
  }

  #add(id, who) {
    const entry = {
      id, who, text: "", firm: 0, heard: null, done: false, cut: false, aside: false, typed: false,
      cast: [], parts: [], begunAt: this.clock(),
    };
    this.entries.set(id, entry);
    this.order.push(entry);
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

/** How far the voice has come in a text, by letters: marks and spaces may differ. */
export function reach(text, voiced) {
  let left = [...voiced].filter((letter) => LETTERS.test(letter)).length;
  let at = 0;
  for (const letter of text) {
    if (left === 0 && LETTERS.test(letter)) break;
    if (left === 0 && /\s/.test(letter)) break;
    if (LETTERS.test(letter)) left -= 1;
    at += letter.length;
  }
  return at;
}

/**
 * The text of an entry by who says it: the name is null where nobody was named.
 * @returns {{name: ?string, from: number, to: number}[]}
 */
export function lines({ text, cast }) {
  const starts = [0];
  for (const match of text.matchAll(SENTENCE_STARTS)) starts.push(match.index + match[0].length);
  const found = [];
  for (const { name, at } of cast) {
    const nearest = starts.reduce((best, start) => (Math.abs(start - at) < Math.abs(best - at) ? start : best), 0);
    const from = Math.abs(nearest - at) <= NEAR ? nearest : at;
    if (from > text.length || (from === text.length && from > 0)) continue;
    if (found.at(-1)?.from === from) found.pop();
    found.push({ name, from });
  }
  if (found[0]?.from !== 0) found.unshift({ name: null, from: 0 });
  return found.map(({ name, from }, n) => ({ name, from, to: found[n + 1]?.from ?? text.length }));
}

/** As a text file. */
export function asText(transcript) {
  const said = transcript.toJSON().flatMap((entry) =>
    lines(entry).map(({ name, from, to }) => {
      const who = entry.who === "user" ? "You" : (name ?? "Agent");
      const text = entry.text.slice(from, entry.heard === null ? to : Math.min(to, entry.heard)).trim();
      return text && `${who}: ${text}${entry.cut && to === entry.text.length ? " [interrupted]" : ""}`;
    }),
  );
  return `${said.filter(Boolean).join("\n")}\n`;
}
