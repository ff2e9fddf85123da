// One conversation over the client of web/s2s: its messages become a state that can be shown.

import { Speaker } from "../../s2s/audio.js";
import { S2SClient, type ConnectionState, type RefusedError } from "../../s2s/client.js";
import type { CaptureError } from "./captureError.js";
import { Store } from "./store.js";
import { answered, answerEnded, cut, heard, newestAnswer, voiced, type Transcript } from "./transcript.js";

export type S2SStatus =
  | "idle"
  | "connecting"
  | "listening"
  | "thinking"
  | "speaking"
  | "reconnecting"
  | "closed"
  | "error";

export interface S2SError {
  /** A code of the protocol, or one of "lost", "failed", "speaker_failed" and "page_silent". */
  code: string;
  /** A sentence to show. */
  message: string;
  /** Whether the conversation goes on, or another `connect()` may help. */
  recoverable: boolean;
}

export interface SessionState {
  status: S2SStatus;
  /** Set while `status` is error; besides, a failure that the conversation survived, until the caller's next words. */
  error: S2SError | null;
  transcript: Transcript;
  /** The agent's newest answer, as far as it has come. */
  agentText: string;
}

export interface S2SOptions {
  /** Where the agent is: `wss://…/ws/s2s`, or a path on the page's own server; `/ws/s2s` there unless told. */
  url?: string;
  /** Another name for `url`; of a server alone, as `https://agent.example`, its `/ws/s2s` is meant. */
  serverUrl?: string;
  /** The bearer token, where the server wants one. */
  token?: string;
  /** The language to be heard and spoken, as in `en` or `zh`. */
  lang?: string;
  /** Another name for `lang`. */
  language?: string;
  /** Whether the agent's voice is played; it is unless told, or left to `onTtsAudio`. */
  play?: boolean;
  /** Gets the agent's voice too: PCM16, mono, 24 kHz. */
  onAudio?: (pcm: ArrayBuffer) => void;
  /** Gets the agent's voice to play it: PCM16, mono, 24 kHz. */
  onTtsAudio?: (pcm: ArrayBuffer) => void;
  /** Gets what the caller has said so far, which may change yet. */
  onAsrPartial?: (text: string, confidence: number | null) => void;
  /** Gets what the caller has said. */
  onAsrFinal?: (text: string, confidence: number | null) => void;
  /** Gets each piece of an answer, when the model writes it. */
  onLlmToken?: (token: string, isFirst: boolean) => void;
  /** Gets the words of an answer in time with the voice. */
  onSpoken?: (text: string) => void;
  /** Gets the end of each answer, and whether it was cut off. */
  onResponseEnd?: (interrupted: boolean) => void;
  /** Gets each error once. */
  onError?: (error: S2SError) => void;
  /** Where playback_worklet.js is served, if not beside this package. */
  worklet?: string | URL;
}

const INITIAL: SessionState = { status: "idle", error: null, transcript: [], agentText: "" };

/** How often the words of an answer are shown anew, in milliseconds: a model may write 200 a second. */
const WORDS_INTERVAL_MS = 50;

/** Where a server is asked that is named alone. */
const PATH = "/ws/s2s";

/** The server ended the conversation as it should end, and says why. */
const ENDINGS = new Set(["session_timeout", "session_ended"]);

export class Session {
  options: S2SOptions;
  readonly store = new Store<SessionState>(INITIAL, WORDS_INTERVAL_MS);
  #client: S2SClient | null = null;
  #speaker: Speaker | null = null;
  #connecting: Promise<boolean> | null = null;
  #refusal: S2SError | null = null;
  #hushed = false;

  constructor(options: S2SOptions) {
    this.options = options;
  }

  readonly connect = (): Promise<boolean> => {
    this.#connecting ??= this.#connect();
    return this.#connecting;
  };

  readonly disconnect = async (): Promise<void> => {
    const client = this.#client;
    if (client === null) return;
    const speaker = this.#release();
    client.close();
    this.#show({ status: "closed", error: null, transcript: cut(this.store.state.transcript) });
    await speaker?.stop();
  };

  readonly interrupt = (): void => {
    this.#client?.interrupt();
    this.#speaker?.clear();
    // What was under way when the server heard of it is not played either.
    this.#hushed = true;
  };

  /** Has the agent forget what was said. */
  readonly reset = (): void => this.#client?.reset();

  /** The microphone could not be had; the answers can still be read and heard. */
  readonly reportCapture = ({ code, message }: CaptureError): void =>
    this.#report({ code, message, recoverable: true });

  readonly pushAudio = (pcm: ArrayBuffer): boolean => this.#client?.sendAudio(pcm) ?? false;

  readonly endAudio = (): void => this.#client?.endAudio();

  async #connect(): Promise<boolean> {
    const { token, language, worklet } = this.options;
    const { url = this.options.serverUrl ?? "", lang = language } = this.options;
    const play = this.options.play ?? this.options.onTtsAudio === undefined;
    const client = new S2SClient({
      url: socketUrl(url),
      ...(token === undefined ? {} : { token }),
      ...(lang === undefined ? {} : { lang }),
    });
    const speaker = play ? new Speaker(undefined, worklet === undefined ? {} : { worklet }) : null;
    this.#client = client;
    this.#speaker = speaker;
    this.#hushed = false;
    this.store.set({ ...INITIAL, status: "connecting" });
    this.#listen(client);
    try {
      await speaker?.start();
    } catch {
      // The answers can still be read.
      await speaker?.stop();
      if (client === this.#client) this.#report(SPEAKER_FAILED);
    }
    if (client !== this.#client) return false;
    try {
      await client.open();
    } catch (failure) {
      await this.#refused(client, failure as RefusedError);
    }
    return client === this.#client;
  }

  #listen(client: S2SClient): void {
    const on: S2SClient["on"] = (type, listener) =>
      client.on(type, (detail) => {
        if (client === this.#client) listener(detail);
      });
    on("state", (state) => this.#connection(state));
    on("asr_partial", ({ text, confidence }) => {
      this.options.onAsrPartial?.(text, confidence);
      const { status, transcript } = this.store.state;
      this.#showSoon({ transcript: heard(transcript, text, true), status: status === "thinking" ? "listening" : status });
    });
    on("asr_final", ({ text, confidence }) => {
      this.options.onAsrFinal?.(text, confidence);
      const { status, transcript } = this.store.state;
      const next = status === "listening" && text !== "" ? "thinking" : status;
      this.#show({ transcript: heard(transcript, text, false), status: next, error: null });
    });
    on("llm_token", ({ token, is_first }) => {
      this.options.onLlmToken?.(token, is_first);
      const { status, transcript } = this.store.state;
      const next = status === "speaking" && client.streaming ? status : "thinking";
      this.#showSoon({ transcript: answered(transcript, token, is_first), status: next });
    });
    on("spoken", ({ text }) => {
      this.options.onSpoken?.(text);
      this.#showSoon({ transcript: voiced(this.store.state.transcript, text) });
    });
    on("session_reset", () => {
      this.#speaker?.clear();
      this.#show({ status: "listening", transcript: [], error: null });
    });
    on("audio_stream_start", () => {
      this.#hushed = false;
      this.#show({ status: "speaking" });
      if (this.#speaker?.blocked) this.#report(PAGE_SILENT);
    });
    on("audio", (pcm) => {
      if (this.#hushed) return;
      this.options.onAudio?.(pcm);
      this.options.onTtsAudio?.(pcm);
      this.#speaker?.play(pcm);
    });
    on("audio_stream_stop", ({ interrupted }) => {
      if (interrupted) this.#speaker?.clear();
      else this.#speaker?.end();
    });
    on("response_end", ({ interrupted }) => {
      this.#show({ status: "listening", transcript: answerEnded(this.store.state.transcript, interrupted) });
      this.options.onResponseEnd?.(interrupted);
    });
    on("error", ({ code, message, recoverable }) => {
      const error = { code, message, recoverable };
      // Of the tries to take a lost connection up only the last one counts; open() tells of its own.
      if (this.store.state.status === "reconnecting") this.#refusal = error;
      else if (this.store.state.status !== "connecting") this.#report(error);
    });
  }

  #connection(state: ConnectionState): void {
    if (state === "open") this.#show({ status: "listening" });
    else if (state === "reconnecting") {
      this.#speaker?.clear();
      this.#refusal = null;
      this.#show({ status: "reconnecting", error: null, transcript: cut(this.store.state.transcript) });
    } else if (state === "closed" && this.store.state.status !== "connecting") void this.#ended();
  }

  async #ended(): Promise<void> {
    const { status, error } = this.store.state;
    const speaker = this.#release();
    if (status === "reconnecting") {
      this.#report(this.#refusal ?? LOST);
      this.#show({ status: "error" });
    } else {
      const failed = error !== null && !error.recoverable && !ENDINGS.has(error.code);
      this.#show({ status: failed ? "error" : "closed", transcript: cut(this.store.state.transcript) });
    }
    await speaker?.stop();
  }

  async #refused(client: S2SClient, failure: RefusedError): Promise<void> {
    if (client !== this.#client) return;
    const speaker = this.#release();
    const { message, recoverable = false } = failure;
    // The browser's own failures carry numbers of old.
    const code = typeof failure.code === "string" ? failure.code : "failed";
    this.#report(code === "lost" ? UNREACHABLE : { code, message, recoverable });
    this.#show({ status: "error" });
    await speaker?.stop();
  }

  #release(): Speaker | null {
    const speaker = this.#speaker;
    this.#client = this.#speaker = this.#connecting = null;
    return speaker;
  }

  #report(error: S2SError): void {
    this.#show({ error });
    this.options.onError?.(error);
  }

  #show(change: Partial<SessionState>): void {
    this.store.set(withAnswer(change));
  }

  #showSoon(change: Partial<SessionState>): void {
    this.store.setSoon(withAnswer(change));
  }
}

const SPEAKER_FAILED: S2SError = {
  code: "speaker_failed",
  message: "The voice cannot be played here. Read the answers, or check the loudspeaker and connect again.",
  recoverable: true,
};
const PAGE_SILENT: S2SError = {
  code: "page_silent",
  message: "The browser keeps a page silent that nobody has touched. Connect from a click.",
  recoverable: true,
};
const UNREACHABLE: S2SError = {
  code: "lost",
  message: "The agent cannot be reached, or refuses the token. Check both, then connect again.",
  recoverable: true,
};
const LOST: S2SError = {
  code: "lost",
  message: "The connection was lost and could not be taken up again. Connect again.",
  recoverable: true,
};

function withAnswer(change: Partial<SessionState>): Partial<SessionState> {
  return change.transcript === undefined ? change : { ...change, agentText: newestAnswer(change.transcript) };
}

/** Older browsers want the whole address, and its scheme; what is no address is left for them to refuse. */
function socketUrl(given: string): string {
  if (!URL.canParse(given, location.origin)) return given;
  const url = new URL(given, location.origin);
  if (url.pathname === "/") url.pathname = PATH;
  return url.href.replace(/^http/, "ws");
}
