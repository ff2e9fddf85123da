// One call over /ws/s2s. Says what happens as the same events as call.js.

import { Microphone, Speaker } from "../s2s/audio.js";
import { S2SClient } from "../s2s/client.js";
import { Ticket } from "./ticket.js";

const CONNECTIONS = { connecting: "joining", open: "connected", reconnecting: "reconnecting" };
const TICKET = "socket-call";

export class SocketCall extends EventTarget {
  /** @param {import("./call.js").Call["wish"]} wish */
  constructor(wish) {
    super();
    this.wish = wish;
    this.serverUrl = location.origin.replace(/^http/, "ws");
    this.left = false;
    this.endedByAgent = false;
    this.wantsMicrophone = false;
    this.muted = false;
    this.ticket = SocketCall.ticket();
    this.microphone = null;
    this.speaker = null;
    this.ids = { user: 0, agent: 0 };
    this.answering = false;
    this.refusal = "";
  }

  static ticket() {
    return new Ticket(globalThis.sessionStorage, Date.now, TICKET);
  }

  get canInterrupt() {
    return true;
  }

  async join({ microphone }) {
    this.wantsMicrophone = microphone;
    this.#emit("connection", "joining");
    const { language: lang, ...wishes } = this.wish.choices;
    const token = this.wish.key || undefined;
    this.client = new S2SClient({ url: `${this.serverUrl}/ws/s2s`, lang, token, wishes });
    this.#listen(this.client);
    const kept = this.ticket.take(this.wish);
    this.speaker = new Speaker((sounding) => this.#sounds(sounding));
    await this.speaker.start();
    await this.#playAt(this.wish.speakerId);
    this.#emit("sound", { blocked: this.speaker.blocked });
    this.#emit("voice", { track: this.speaker.track });
    if (microphone) await this.#startMicrophone();
    try {
      if (kept) await this.client.takeUp(kept.session_id);
      else await this.client.open();
    } catch (error) {
      this.left = true;
      this.ticket.drop();
      await this.#stop();
      throw error;
    }
    this.ticket.keep(this.wish, { session_id: this.client.sessionId }, { microphone });
    this.#emit("state", "listening");
  }

  async leave() {
    this.left = true;
    this.ticket.drop();
    this.client?.close();
    await this.#stop();
    this.#emit("connection", "ended");
  }

  /** The page goes, and may be back in a moment: its browser breaks the line, and the agent waits. */
  goAway() {
    if (!this.left) this.ticket.left({ microphone: this.wantsMicrophone });
  }

  async say(text) {
    if (!this.client.say(text)) throw new Error("not connected");
    this.speaker.clear();
    this.#emit("state", "thinking");
  }

  interrupt() {
    this.client.interrupt();
    this.speaker.clear();
  }

  async setMuted(muted) {
    this.muted = muted;
    if (muted) this.client.endAudio();
    this.#emitMicrophone();
  }

  async useMicrophone(on) {
    this.wantsMicrophone = on;
    this.muted = false;
    if (on) {
      await this.#startMicrophone();
      return;
    }
    await this.microphone?.stop();
    this.microphone = null;
    this.client.endAudio();
    this.#emitMicrophone();
  }

  async chooseMicrophone(deviceId) {
    this.wish.deviceId = deviceId;
    await this.microphone?.stop();
    await this.#startMicrophone();
  }

  async chooseSpeaker(deviceId) {
    this.wish.speakerId = deviceId;
    await this.#playAt(deviceId);
  }

  unlockSound() {
    return this.speaker.context.resume();
  }

  async #playAt(deviceId) {
    // Only some browsers can; the others play where they always do.
    if (deviceId && this.speaker.context.setSinkId) await this.speaker.context.setSinkId(deviceId).catch(() => {});
  }

  async #startMicrophone() {
    const microphone = new Microphone((pcm) => !this.muted && this.client.sendAudio(pcm), {
      deviceId: this.wish.deviceId || undefined,
      onEnded: () => this.#lostMicrophone(Object.assign(new Error("gone"), { name: "NotFoundError" })),
    });
    this.microphone = microphone;
    try {
      if (!navigator.mediaDevices) throw Object.assign(new Error("no microphone here"), { name: "InsecureContext" });
      await microphone.start();
      this.#emitMicrophone();
    } catch (error) {
      if (microphone === this.microphone) this.#lostMicrophone(error);
    }
  }

  #lostMicrophone(error) {
    this.microphone = null;
    this.wantsMicrophone = false;
    this.#emit("microphone", { track: null, muted: true, error });
  }

  #listen(client) {
    client.on("state", (state) => this.#connection(state));
    client.on("asr_partial", ({ text }) => this.#emit("user", { id: `u${this.ids.user}`, text, final: false }));
    client.on("asr_final", ({ text }) => {
      this.#emit("user", { id: `u${this.ids.user}`, text, final: true });
      this.ids.user += 1;
      if (text && !this.answering) this.#emit("state", "thinking");
    });
    client.on("llm_token", ({ token }) => {
      this.answering = true;
      this.#emit("agent", { id: `a${this.ids.agent}`, text: token, ahead: true });
    });
    client.on("spoken", ({ text }) => this.#emit("spoken", { id: `a${this.ids.agent}`, text }));
    client.on("audio", (pcm) => this.speaker?.play(pcm));
    client.on("audio_stream_stop", ({ interrupted }) => (interrupted ? this.speaker?.clear() : this.speaker?.end()));
    client.on("response_end", ({ interrupted }) => this.#answered(interrupted));
    client.on("speaker", ({ name, at }) => this.#emit("speaker", { name, at }));
    client.on("latency", ({ record }) => this.#emit("latency", JSON.stringify(record)));
    client.on("attributes", ({ attributes }) => {
      const { "agent.voice": voice, "agent.hearing": hearing, "agent.engines": engines } = attributes;
      if (voice || hearing) this.#emit("voice", { textOnly: voice === "text-only", deaf: hearing === "lost" });
      if (engines) this.#emit("engines", engines);
    });
    client.on("error", ({ code, message, recoverable }) => {
      if (code === "session_timeout" || code === "session_ended") this.endedByAgent = true;
      else if (!recoverable) this.refusal = message;
    });
  }

  #answered(interrupted) {
    this.#emit("agent-end", { id: `a${this.ids.agent}`, interrupted });
    if (this.answering) this.ids.agent += 1;
    this.answering = false;
    if (document.body.dataset.sounding !== "true") this.#emit("state", "listening");
  }

  #connection(state) {
    if (state === "reconnecting") {
      // Nothing from before the break is said after it.
      this.speaker?.clear();
      this.#answered(true);
      this.ids.user += 1;
    }
    if (state !== "closed") {
      this.#emit("connection", CONNECTIONS[state]);
      return;
    }
    if (this.left) return;
    this.ticket.drop();
    this.#stop().then(() => this.#emit("connection", "ended"));
  }

  #sounds(sounding) {
    document.body.dataset.sounding = String(sounding);
    this.#emit("state", sounding ? "speaking" : this.answering ? "thinking" : "listening");
  }

  async #stop() {
    document.body.dataset.sounding = "false";
    const devices = [this.microphone, this.speaker];
    this.microphone = null;
    await Promise.all(devices.map((device) => device?.stop()));
  }

  #emitMicrophone() {
    this.#emit("microphone", { track: this.microphone?.track ?? null, muted: this.muted });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
