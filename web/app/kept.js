// The transcript, kept in this tab while the page is loaded anew, and forgotten soon after. It is in
// no other tab, on no server, and gone with the tab.

const NAME = "transcript";
const FORGOTTEN_MS = 10 * 60_000;
/** Bytes; the storage of a tab holds some millions. */
const MOST = 500_000;

export class KeptTranscript {
  constructor(storage = globalThis.sessionStorage, now = Date.now) {
    this.storage = storage;
    this.now = now;
  }

  /** @param {import("./transcript.js").Transcript} transcript */
  save(transcript) {
    let entries = transcript.toJSON().map(({ who, text, heard, cut, aside, typed, cast }) => ({ who, text, heard, cut, aside, typed, cast }));
    let written = JSON.stringify({ at: this.now(), entries });
    while (written.length > MOST && entries.length > 1) {
      entries = entries.slice(Math.ceil(entries.length / 4));
      written = JSON.stringify({ at: this.now(), entries });
    }
    try {
      this.storage.setItem(NAME, written);
    } catch {
      // Full, or switched off: then a page that is loaded anew begins empty.
    }
  }

  /** What was said in the call that this tab had a moment ago; empty where it is too long ago. */
  load() {
    try {
      const { at, entries } = JSON.parse(this.storage.getItem(NAME));
      if (this.now() - at < FORGOTTEN_MS && Array.isArray(entries)) return entries;
    } catch {
      // There is none.
    }
    this.forget();
    return [];
  }

  forget() {
    this.storage.removeItem(NAME);
  }
}
