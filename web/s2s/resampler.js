// From a microphone's sample rate to the protocol's: a windowed sinc, which lets no tone above
// half of the new rate come back as a false one below it.

const ZERO_CROSSINGS = 12;

export class Resampler {
  /**
   * @param {number} from Hertz, of what is pushed
   * @param {number} to Hertz, of what is returned
   */
  constructor(from, to) {
    this.step = from / to;
    // Relative to the input; a little below half of the lower rate, for the filter is not endless.
    this.cutoff = 0.94 * Math.min(1, to / from);
    this.reach = Math.ceil(ZERO_CROSSINGS / this.cutoff);
    this.history = new Float32Array(2 * this.reach);
    // Where the next sample to return lies, in samples of the input after the history's start.
    this.position = this.reach;
  }

  /**
   * @param {Float32Array} samples of any number
   * @returns {Float32Array} what they complete: `reach` samples late
   */
  push(samples) {
    if (this.step === 1) return samples;
    const input = new Float32Array(this.history.length + samples.length);
    input.set(this.history);
    input.set(samples, this.history.length);
    const output = [];
    while (this.position + this.reach < input.length) {
      output.push(this.at(input, this.position));
      this.position += this.step;
    }
    const drop = Math.min(Math.floor(this.position) - this.reach, input.length);
    this.history = input.slice(drop);
    this.position -= drop;
    return Float32Array.from(output);
  }

  /**
   * @param {Float32Array} input
   * @param {number} position with a fraction
   */
  at(input, position) {
    const first = Math.ceil(position - this.reach);
    const last = Math.floor(position + this.reach);
    let sum = 0;
    for (let index = Math.max(first, 0); index <= last; index += 1) {
      const distance = index - position;
      const window = 0.5 + 0.5 * Math.cos((Math.PI * distance) / (this.reach + 1));
      const phase = Math.PI * this.cutoff * distance;
      sum += input[index] * window * this.cutoff * (phase === 0 ? 1 : Math.sin(phase) / phase);
    }
    return sum;
  }
}
