// The protocol of /ws/s2s from the client's side: one session, resumed when the line breaks.

const SUBPROTOCOL = "s2s.v1";
const RESUME_WAITS_MS = [0, 250, 500, 1000, 2000, 4000, 8000, 8000];

/** Not worth another try: the session is over, or was never to be had. */
const FINAL_ERRORS = new Set(["unknown_session", "session_exists", "busy", "unsupported_lang", "unsupported_audio"]);

/**
 * Events: "state" (connecting, open, reconnecting, closed), each message of the server under its
 * own type with the message as `detail`, and "audio" with an ArrayBuffer of PCM16.
 */
export class S2SClient extends EventTarget {
  /**
   * @param {{url: string, lang?: string, token?: string, WebSocket?: typeof WebSocket,
   *   wait?: (ms: number) => Promise<void>}} options
   */
  constructor({ url, lang, token, WebSocket = globalThis.WebSocket, wait = sleep }) {
    super();
    this.url = url;
    this.lang = lang;
    this.token = token;
    this.WebSocket = WebSocket;
    this.wait = wait;
    this.sessionId = randomId();
    this.socket = null;
    this.state = "closed";
    this.left = true;
    this.sent = 0;
    this.#forget();
  }

  /** Opens the session; resolves when it is open. */
  async open() {
    this.left = false;
    this.#setState("connecting");
    try {
      await this.#connect({
        type: "session_start",
        session_id: this.sessionId,
        ...(this.lang ? { lang: this.lang } : {}),
        audio: { sample_rate: 16000, format: "pcm16", channels: 1 },
      });
    } catch (error) {
      this.left = true;
      this.#setState("closed");
      throw error;
    }
    this.#setState("open");
  }

  /** Sends 20 to 40 ms of PCM16; what can't be sent now is dropped, for it would come too late. */
  sendAudio(pcm) {
    if (this.state !== "open") return false;
    this.#send({ type: "audio_chunk", seq: this.sent, timestamp_ms: performance.now() });
    this.socket.send(pcm);
    this.sent += 1;
    return true;
  }

  endAudio() {
    if (this.state === "open") this.#send({ type: "audio_end" });
  }

  interrupt() {
    if (this.state === "open") this.#send({ type: "interrupt" });
  }

  /** Ends the session. */
  close() {
    this.left = true;
    this.socket?.close(1000);
    this.#setState("closed");
  }

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
        const message = JSON.parse(data);
        if (message.type === "session_started") {
          started = true;
          this.#forget(message.last_seq);
          resolve();
        } else if (!started && message.type === "error") {
          reject(Object.assign(new Error(message.message), { code: message.code }));
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
        this.#setState("open");
        return;
      } catch (error) {
        if (FINAL_ERRORS.has(error.code)) break;
      }
    }
    this.left = true;
    this.#setState("closed");
  }

  #take(message) {
    if (message.type === "tts_audio") this.pendingSeq = message.seq;
    if (message.type === "audio_stream_start") this.streaming = true;
    if (message.type === "audio_stream_stop") this.streaming = false;
    this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }

  // Sound belongs to the number that came before it; sound from before a break has none that counts.
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

  #send(message) {
    this.socket.send(JSON.stringify(message));
  }

  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// The id is the key to take the session up again, so nobody must be able to guess it.
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function base64url(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
