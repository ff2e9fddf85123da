// Runs on the audio thread: hands the microphone on in frames of 20 ms, as 16-bit samples at 16 kHz.

import { Resampler } from "./resampler.js";

const SAMPLE_RATE = 16000;
const FRAME = 320;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, SAMPLE_RATE);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
    this.energy = 0;
  }

  /** @param {Float32Array[][]} inputs */
  process([input]) {
    const samples = input[0];
    if (!samples) return true;
    for (const sample of this.resampler.push(samples)) {
      const limited = Math.max(-1, Math.min(1, sample));
      this.frame[this.filled] = Math.round(limited * 32767);
      this.energy += limited * limited;
      this.filled += 1;
      if (this.filled === FRAME) {
        const level = Math.sqrt(this.energy / FRAME);
        this.port.postMessage({ pcm: this.frame.buffer, level }, [this.frame.buffer]);
        this.frame = new Int16Array(FRAME);
        this.filled = 0;
        this.energy = 0;
      }
    }
    return true;
  }
}

registerProcessor("s2s-capture", Capture);
