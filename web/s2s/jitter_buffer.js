// Evens out the arrival of sound: plays once enough is there, and stays near the speaker's time.

/**
 * Decides when to play and what to drop; holds samples, but knows no clock and no audio device.
 * It waits for `startMs` of sound, aims to hold no more than `targetMs`, and drops the oldest sound
 * beyond `limitMs`, down to the target.
 */
export class JitterBuffer {
  /** @type {Float32Array[]} */
  chunks = [];
  offset = 0;
  length = 0;
  playing = false;
  ended = false;

  /** @param {{sampleRate?: number, startMs?: number, targetMs?: number, limitMs?: number}} options */
  constructor({ sampleRate = 16000, startMs = 100, targetMs = 300, limitMs = 500 } = {}) {
    this.start = (startMs * sampleRate) / 1000;
    this.target = (targetMs * sampleRate) / 1000;
    this.limit = (limitMs * sampleRate) / 1000;
  }

  clear() {
    this.chunks = [];
    this.offset = 0;
    this.length = 0;
    this.playing = false;
    this.ended = false;
  }

  /** @param {Float32Array} samples */
  push(samples) {
    if (this.ended) this.clear();
    this.chunks.push(samples);
    this.length += samples.length;
    if (this.length > this.limit) this.#drop(this.length - this.target);
  }

  /** No more is coming: what is there is played, however short it is. */
  end() {
    this.ended = true;
  }

  /**
   * Fills `output` with the next samples, or with silence.
   * @param {Float32Array} output
   * @returns {number} how many samples were sound
   */
  pull(output) {
    output.fill(0);
    if (!this.playing) this.playing = this.length > 0 && (this.length >= this.start || this.ended);
    if (!this.playing) return 0;
    let filled = 0;
    while (filled < output.length && this.length > 0) {
      const chunk = this.chunks[0];
      const part = Math.min(output.length - filled, chunk.length - this.offset);
      output.set(chunk.subarray(this.offset, this.offset + part), filled);
      filled += part;
      this.#drop(part);
    }
    // Run dry: what comes next is gathered first, or every late frame would be a gap.
    if (this.length === 0) this.playing = false;
    return filled;
  }

  /** @param {number} count */
  #drop(count) {
    this.length -= count;
    while (count > 0) {
      const part = Math.min(count, this.chunks[0].length - this.offset);
      this.offset += part;
      count -= part;
      if (this.offset === this.chunks[0].length) {
        this.chunks.shift();
        this.offset = 0;
      }
    }
  }
}
