// Runs on the audio thread: plays what arrives through a jitter buffer, without gaps.

import { JitterBuffer } from "./jitter_buffer.js";

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.buffer = new JitterBuffer({ sampleRate });
    this.sounding = false;
    this.port.onmessage = ({ data }) => {
      if (data === "clear") this.buffer.clear();
      else if (data === "end") this.buffer.end();
      else this.buffer.push(data);
    };
  }

  /**
   * @param {Float32Array[][]} _
   * @param {Float32Array[][]} outputs
   */
  process(_, [output]) {
    const sounding = this.buffer.pull(output[0]) > 0;
    for (const channel of output.slice(1)) channel.set(output[0]);
    if (sounding !== this.sounding) {
      this.sounding = sounding;
      this.port.postMessage({ sounding });
    }
    return true;
  }
}

registerProcessor("s2s-playback", Playback);
