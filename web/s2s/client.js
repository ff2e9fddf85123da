// The protocol of /ws/s2s from the client's side: one session, resumed when the line breaks.

import { SAMPLE_RATE, VOICE_RATE } from "./audio.js";

const OPEN = 1; // WebSocket.OPEN
const SUBPROTOCOL = "s2s.v1";
const RESUME_WAITS_MS = [0, 250, 500, 1000, 2000, 4000, 8000, 8000];

/** Not worth another try: the session is over, or was never to be had. */
const FINAL_ERRORS = new Set(["unknown_session", "session_exists", "busy", "unsupported_lang", "unsupported_audio"]);

/**
 * @typedef {{sample_rate: number, format: string, channels: number}} AudioFormat
 * @typedef {{type: "session_started", session_id: string, audio: AudioFormat, output: AudioFormat, resumed: boolean, last_seq: number}} SessionStarted
 * @typedef {{type: "asr_partial", text: string, confidence: number | null}} AsrPartial
 * @typedef {{type: "session_reset", session_id: string, last_seq: number}} SessionReset
 * @typedef {{type: "asr_final", text: string, confidence: number | null}} AsrFinal
 * @typedef {{type: "llm_token", token: string, is_first: boolean}} LlmToken
 * @typedef {{type: "spoken", text: string}} Spoken
 * @typedef {{type: "audio_stream_start"} & AudioFormat} AudioStreamStart
 * @typedef {{type: "tts_audio", seq: number}} TtsAudio
 * @typedef {{type: "audio_stream_stop", interrupted: boolean}} AudioStreamStop
 * @typedef {{type: "response_end", interrupted: boolean}} ResponseEnd
 * @typedef {{type: "error", code: string, message: string, recoverable: boolean}} ErrorMessage
 * @typedef {{type: "speaker", name: string, at: number}} SpeakerBegins
 * @typedef {{type: "latency", record: Record<string, unknown>}} Latency
 * @typedef {{type: "attributes", attributes: Record<string, string>}} Attributes
 * @typedef {SessionStarted | SessionReset | AsrPartial | AsrFinal | LlmToken | Spoken | AudioStreamStart | TtsAudio | AudioStreamStop | ResponseEnd | SpeakerBegins | Latency | Attributes | ErrorMessage} ServerMessage
 * @typedef {"connecting" | "open" | "reconnecting" | "closed"} ConnectionState
 * @typedef {{[M in ServerMessage as M["type"]]: M} & {state: ConnectionState, audio: ArrayBuffer}} S2SEvents
 * @typedef {Error & {code?: unknown, recoverable?: boolean}} RefusedError why a session did not open: as the
 *   server said, or with the code "lost", or what the browser had against the address
 * @typedef {{url: string, lang?: string, token?: string, WebSocket?: typeof WebSocket,
 *   wishes?: Record<string, string>, wait?: (ms: number) => Promise<unknown>}} S2SClientOptions
 *   `wishes` are flow, character, voice and economy, ids out of `/api/config`
 */

/**
 * Events: "state" (connecting, open, reconnecting, closed), each message of the server under its
 * own type with the message as `detail`, and "audio" with an ArrayBuffer of PCM16.
 */
export class S2SClient extends EventTarget {
  /** @type {WebSocket | null} */
  socket = null;
  /** @type {ConnectionState} */
  state = "closed";
  left = true;
  sent = 0;
  lastSeq = -1;
  /** @type {number | null} */
  pendingSeq = null;
  streaming = false;

  /** @param {S2SClientOptions} options */
  constructor({ url, lang, token, wishes = {}, WebSocket = globalThis.WebSocket, wait = sleep }) {
    super();
    this.url = url;
    this.lang = lang;
    this.token = token;
    this.wishes = wishes;
    this.WebSocket = WebSocket;
    this.wait = wait;
    this.sessionId = randomId();
  }

  /**
   * Hands on the `detail` of each event until the function that it returns is called.
   * @template {keyof S2SEvents} K
   * @param {K} type
   * @param {(detail: S2SEvents[K]) => void} listener
   * @returns {() => void}
   */
  on(type, listener) {
    /** @param {Event} event */
    const hear = (event) => listener(/** @type {CustomEvent<S2SEvents[K]>} */ (event).detail);
    this.addEventListener(type, hear);
    return () => this.removeEventListener(type, hear);
  }

  /** Opens the session; resolves when it is open. */
  async open() {
    await this.#begin({
      type: "session_start",
      session_id: this.sessionId,
      ...(this.lang ? { lang: this.lang } : {}),
      ...this.wishes,
      audio: { sample_rate: SAMPLE_RATE, format: "pcm16", channels: 1 },
      output_sample_rate: VOICE_RATE,
    });
  }

  /**
   * Takes up a session that a page had before it was loaded anew; resolves when it is open.
   * @param {string} sessionId
   */
  async takeUp(sessionId) {
    this.sessionId = sessionId;
    await this.#begin({ type: "session_resume", session_id: sessionId, last_seq: -1 });
  }

  /** @param {object} first */
  async #begin(first) {
    this.left = false;
    this.#setState("connecting");
    try {
      await this.#connect(first);
    } catch (error) {
      this.left = true;
      this.#setState("closed");
      throw error;
    }
    this.#opened();
  }

  /**
   * Sends 20 to 40 ms of PCM16; what can't be sent now is dropped, for it would come too late.
   * @param {ArrayBuffer} pcm
   * @returns {boolean} whether it was sent
   */
  sendAudio(pcm) {
    if (!this.#ready) return false;
    this.#send({ type: "audio_chunk", seq: this.sent, timestamp_ms: performance.now() });
    this.socket?.send(pcm);
    this.sent += 1;
    return true;
  }

  endAudio() {
    if (this.#ready) this.#send({ type: "audio_end" });
  }

  interrupt() {
    if (this.#ready) this.#send({ type: "interrupt" });
  }

  /**
   * Writes instead of talking: the agent stops, and answers.
   * @param {string} text
   * @returns {boolean} whether it was sent
   */
  say(text) {
    if (!this.#ready) return false;
    this.#send({ type: "text", text });
    return true;
  }

  /** Begins anew: the agent forgets what was said. */
  reset() {
    if (this.#ready) this.#send({ type: "reset" });
  }

  /** Ends the session. */
  close() {
    this.left = true;
    this.socket?.close(1000);
    this.#setState("closed");
  }

  /**
   * @param {object} first
   * @returns {Promise<void>}
   */
  #connect(first) {
    return new Promise((resolve, reject) => {
      const protocols = this.token ? [SUBPROTOCOL, `bearer.${base64url(this.token)}`] : [SUBPROTOCOL];
      const socket = new this.WebSocket(this.url, protocols);
      socket.binaryType = "arraybuffer";
      this.socket = socket;
      let started = false;
      socket.onopen = () => this.#send(first);
      socket.onmessage = ({ data }) => {
        if (socket !== this.socket) return;
        if (typeof data !== "string") {
          this.#takeAudio(data);
          return;
        }
        /** @type {ServerMessage} */
        const message = JSON.parse(data);
        if (message.type === "session_started") {
          started = true;
          this.#forget(message.last_seq);
          resolve();
        } else if (!started && message.type === "error") {
          const { code, recoverable } = message;
          reject(Object.assign(new Error(message.message), { code, recoverable }));
          socket.close(1000);
        }
        this.#take(message);
      };
      socket.onclose = ({ code, reason }) => {
        reject(Object.assign(new Error(reason || "the connection was refused or lost"), { code: "lost" }));
        if (started && socket === this.socket) this.#lost(code);
      };
    });
  }

  // A socket that is on its way out takes nothing more, and browsers complain on the console.
  get #ready() {
    return this.state === "open" && this.socket?.readyState === OPEN;
  }

  // Whoever left while the answer was on its way stays away.
  #opened() {
    if (!this.left) this.#setState("open");
  }

  /** @param {number} code */
  async #lost(code) {
    if (this.left) return;
    if (code === 1000 || code === 1008) {
      this.left = true;
      this.#setState("closed");
      return;
    }
    this.#setState("reconnecting");
    for (const ms of RESUME_WAITS_MS) {
      await this.wait(ms);
      if (this.left) return;
      try {
        await this.#connect({ type: "session_resume", session_id: this.sessionId, last_seq: this.lastSeq });
        this.#opened();
        return;
      } catch (error) {
        if (FINAL_ERRORS.has(/** @type {{code: string}} */ (error).code)) break;
      }
    }
    this.left = true;
    this.#setState("closed");
  }

  /** @param {ServerMessage} message */
  #take(message) {
    if (message.type === "tts_audio") this.pendingSeq = message.seq;
    if (message.type === "audio_stream_start") this.streaming = true;
    if (message.type === "audio_stream_stop") this.streaming = false;
    this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }

  /**
   * Sound belongs to the number that came before it; sound from before a break has none that counts.
   * @param {ArrayBuffer} data
   */
  #takeAudio(data) {
    const seq = this.pendingSeq;
    this.pendingSeq = null;
    if (seq === null || seq <= this.lastSeq || !this.streaming) return;
    this.lastSeq = seq;
    this.dispatchEvent(new CustomEvent("audio", { detail: data }));
  }

  #forget(lastSeq = -1) {
    this.lastSeq = lastSeq;
    this.pendingSeq = null;
    this.streaming = false;
  }

  /** @param {object} message */
  #send(message) {
    this.socket?.send(JSON.stringify(message));
  }

  /** @param {ConnectionState} state */
  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

/** @param {number} ms */
function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// The id is the key to take the session up again, so nobody must be able to guess it.
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} text */
function base64url(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
