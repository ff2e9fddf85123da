// Runs on the audio thread: hands the microphone on in frames of 16-bit samples, 20 ms at 16 kHz
// unless told otherwise.

import { Resampler } from "./resampler.js";

class Capture extends AudioWorkletProcessor {
  /** @param {{processorOptions?: {rate?: number, frame?: number}}} options Hertz, and samples in a frame */
  constructor({ processorOptions = {} } = {}) {
    super();
    const { rate = 16000, frame = 320 } = processorOptions;
    this.size = frame;
    this.resampler = new Resampler(sampleRate, rate);
    this.frame = new Int16Array(frame);
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
      if (this.filled === this.size) {
        const level = Math.sqrt(this.energy / this.size);
        this.port.postMessage({ pcm: this.frame.buffer, level }, [this.frame.buffer]);
        this.frame = new Int16Array(this.size);
        this.filled = 0;
        this.energy = 0;
      }
    }
    return true;
  }
}

registerProcessor("s2s-capture", Capture);
