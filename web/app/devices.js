// Which microphone and which speaker: chosen and tried before a call, changed in one.

import { LevelMeter } from "./level.js";

/** From where on a level is taken for a voice rather than a room's noise. */
const HEARD = 0.45;

export class Devices extends EventTarget {
  /**
   * Events: "microphone" and "speaker", with the id as `detail`; "error" with what went wrong.
   * @param {Object<string, HTMLElement>} parts
   */
  constructor(parts) {
    super();
    Object.assign(this, parts);
    this.stream = null;
    this.heard = false;
    this.level = new LevelMeter((level) => this.#showLevel(level));
    this.mic.addEventListener("change", () => this.#chose("microphone", this.mic.value));
    this.speaker.addEventListener("change", () => this.#chose("speaker", this.speaker.value));
    this.testMic.addEventListener("click", () => (this.stream ? this.stopTest() : this.startTest()));
    this.testSpeaker.addEventListener("click", () => this.#chime());
    // Firefox lists no speakers; Safari can't switch.
    this.speakerField.hidden = !("setSinkId" in HTMLMediaElement.prototype);
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.list());
  }

  get microphoneId() {
    return localStorage.getItem("microphone") ?? "";
  }

  get speakerId() {
    return this.speakerField.hidden ? "" : (localStorage.getItem("speaker") ?? "");
  }

  /** Shows what there is; the devices have names only once the microphone was allowed. */
  async list(current = this.microphoneId) {
    const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    const of = (kind) => all.filter((device) => device.kind === kind && device.deviceId);
    fill(this.mic, of("audioinput"), current, "Microphone");
    fill(this.speaker, of("audiooutput"), this.speakerId, "Speaker");
  }

  async startTest() {
    this.words.textContent = "Say something…";
    this.heard = false;
    try {
      if (!navigator.mediaDevices) throw Object.assign(new Error("no microphone here"), { name: "InsecureContext" });
      const { microphoneId: deviceId } = this;
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: deviceId ? { deviceId } : true });
    } catch (error) {
      this.words.textContent = "";
      this.dispatchEvent(new CustomEvent("error", { detail: error }));
      return;
    }
    const [track] = this.stream.getAudioTracks();
    this.meter.hidden = false;
    this.testMic.textContent = "Stop the test";
    this.level.watch(track);
    await this.level.resume();
    await this.list(track.getSettings().deviceId);
  }

  /** Lets go of the microphone. */
  stopTest() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (!this.stream) return;
    this.stream = null;
    this.level.stop();
    this.meter.hidden = true;
    this.testMic.textContent = "Test the microphone";
    if (!this.heard) this.words.textContent = "";
  }

  async #chose(kind, id) {
    localStorage.setItem(kind, id);
    this.dispatchEvent(new CustomEvent(kind, { detail: id }));
    if (kind === "microphone" && this.stream) {
      this.stopTest();
      await this.startTest();
    }
  }

  #showLevel(level) {
    this.bar.style.setProperty("--level", level.toFixed(3));
    this.meter.setAttribute("aria-valuenow", String(Math.round(level * 100)));
    if (level < HEARD || this.heard || !this.stream) return;
    this.heard = true;
    this.words.textContent = "Your microphone works.";
  }

  async #chime() {
    const audio = new Audio(URL.createObjectURL(new Blob([chime()], { type: "audio/wav" })));
    audio.addEventListener("ended", () => URL.revokeObjectURL(audio.src));
    try {
      if (this.speakerId && audio.setSinkId) await audio.setSinkId(this.speakerId);
      await audio.play();
    } catch (error) {
      this.dispatchEvent(new CustomEvent("error", { detail: error }));
    }
  }
}

function fill(select, devices, current, label) {
  const wanted = devices.some((device) => device.deviceId === current) ? current : "";
  const entries = devices.map((device, n) => new Option(device.label || `${label} ${n + 1}`, device.deviceId));
  if (!devices.some((device) => device.deviceId === "default") || !wanted) entries.unshift(new Option("Standard", ""));
  select.replaceChildren(...entries);
  select.value = wanted;
}

/** Two notes, half a second each, as a WAV file. */
export function chime(rate = 24_000) {
  const notes = [523.25, 659.25];
  const samples = new Int16Array(rate);
  for (let n = 0; n < rate; n += 1) {
    const note = notes[Math.floor((n * notes.length) / rate)];
    const within = (n % (rate / 2)) / rate;
    samples[n] = Math.sin((2 * Math.PI * note * n) / rate) * Math.exp(-7 * within) * Math.min(1, within * 200) * 9000;
  }
  const head = new DataView(new ArrayBuffer(44));
  const write = (at, text) => [...text].forEach((letter, n) => head.setUint8(at + n, letter.charCodeAt(0)));
  write(0, "RIFF");
  head.setUint32(4, 36 + samples.byteLength, true);
  write(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, rate * 2, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  write(36, "data");
  head.setUint32(40, samples.byteLength, true);
  const file = new Uint8Array(44 + samples.byteLength);
  file.set(new Uint8Array(head.buffer));
  file.set(new Uint8Array(samples.buffer), 44);
  return file;
}
