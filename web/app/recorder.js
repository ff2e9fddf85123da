// A recording of both sides, made in this tab, where the caller asks for one. It goes nowhere.

export class CallRecorder {
  /** Whether this browser can. */
  static get possible() {
    return typeof MediaRecorder === "function" && typeof AudioContext === "function";
  }

  constructor() {
    this.context = new AudioContext();
    this.mix = this.context.createMediaStreamDestination();
    this.recorder = new MediaRecorder(this.mix.stream);
    /** @type {Blob[]} */
    this.parts = [];
    this.sources = new Map();
    this.recorder.addEventListener("dataavailable", ({ data }) => data.size && this.parts.push(data));
    this.recorder.start(1000);
  }

  /**
   * Takes one side's sound in; what was taken from it before is let go of.
   * @param {"agent" | "caller"} side
   * @param {?MediaStreamTrack} track
   */
  take(side, track) {
    this.sources.get(side)?.disconnect();
    this.sources.delete(side);
    if (!track) return;
    const source = this.context.createMediaStreamSource(new MediaStream([track]));
    source.connect(this.mix);
    this.sources.set(side, source);
  }

  /**
   * Ends it.
   * @returns {Promise<?Blob>} null where there was no sound
   */
  async stop() {
    if (this.recorder.state !== "inactive") {
      const stopped = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
      this.recorder.stop();
      await stopped;
    }
    await this.context.close().catch(() => {});
    return this.parts.length ? new Blob(this.parts, { type: this.recorder.mimeType }) : null;
  }
}

/** Has the browser save something that stands in this tab. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A file's name with the time in it: two calls must not overwrite each other. */
export function fileName(kind, extension, now = new Date()) {
  const two = (number) => String(number).padStart(2, "0");
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  return `${kind}-${day}-${two(now.getHours())}${two(now.getMinutes())}.${extension}`;
}
