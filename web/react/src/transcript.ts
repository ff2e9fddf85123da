// Who said what, from the messages of the server: plain functions from one transcript to the next.

export interface TranscriptEntry {
  /** The same for as long as the entry is there; a key for React. */
  id: number;
  who: "user" | "agent";
  text: string;
  /** Still changing: words that may be heard otherwise yet, or an answer that goes on. */
  partial: boolean;
  /** An answer that was cut off. */
  interrupted: boolean;
  /** Of an answer, as far as the voice has come: what was heard of one that was cut off. */
  spoken: string;
}

export type Transcript = readonly TranscriptEntry[];

/** Entries that are kept: a call of some hours. */
const LIMIT = 1000;

/** What the caller has said so far, for sure or not. */
export function heard(transcript: Transcript, text: string, partial: boolean): Transcript {
  const open = find(transcript, "user");
  if (open === undefined) return text === "" ? transcript : append(transcript, "user", text, partial);
  if (text === "" && !partial) return transcript.filter((entry) => entry !== open);
  return replace(transcript, open, { text, partial });
}

/** A piece of the agent's answer. */
export function answered(transcript: Transcript, token: string, isFirst: boolean): Transcript {
  const begun = isFirst ? answerEnded(transcript, false) : transcript;
  const open = find(begun, "agent");
  if (open === undefined) return append(begun, "agent", token, true);
  return replace(begun, open, { text: open.text + token });
}

/** The voice has come to these words of the newest answer. */
export function voiced(transcript: Transcript, text: string): Transcript {
  const open = find(transcript, "agent");
  return open === undefined ? transcript : replace(transcript, open, { spoken: open.spoken + text });
}

/** The answer is complete, or was cut off. */
export function answerEnded(transcript: Transcript, interrupted: boolean): Transcript {
  const open = find(transcript, "agent");
  return open === undefined ? transcript : replace(transcript, open, { partial: false, interrupted });
}

/** The line is gone: an answer ends there, and words that were not sure yet never will be. */
export function cut(transcript: Transcript): Transcript {
  return answerEnded(transcript, true).filter((entry) => !entry.partial);
}

/** The agent's newest answer, as far as it has come. */
export function newestAnswer(transcript: Transcript): string {
  return transcript.findLast((entry) => entry.who === "agent")?.text ?? "";
}

/** The caller's newest words, as far as they were heard. */
export function newestWords(transcript: Transcript): string {
  return transcript.findLast((entry) => entry.who === "user")?.text ?? "";
}

function find(transcript: Transcript, who: TranscriptEntry["who"]): TranscriptEntry | undefined {
  return transcript.findLast((entry) => entry.partial && entry.who === who);
}

function append(transcript: Transcript, who: TranscriptEntry["who"], text: string, partial: boolean): Transcript {
  const id = (transcript.at(-1)?.id ?? 0) + 1;
  return [...transcript.slice(1 - LIMIT), { id, who, text, partial, interrupted: false, spoken: "" }];
}

function replace(transcript: Transcript, old: TranscriptEntry, change: Partial<TranscriptEntry>): Transcript {
  return transcript.map((entry) => (entry === old ? { ...entry, ...change } : entry));
}
