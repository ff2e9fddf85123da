// How loud a track is, thirty times a second, as a number from 0 to 1; and its spectrum to be drawn.

const FLOOR_DB = -60;
/** Hertz between which voices have their sound. */
const [LOW, HIGH] = [90, 5000];

export class LevelMeter {
  /** @param {(level: number) => void} onLevel */
  constructor(onLevel = () => {}) {
    this.onLevel = onLevel;
    this.level = 0;
    this.context = null;
    this.source = null;
    this.analyser = null;
    this.timer = 0;
  }

  /** @param {MediaStreamTrack} track */
  watch(track) {
    this.stop();
    this.context ??= new AudioContext();
    const analyser = this.context.createAnalyser();
    analyser.fftSize = 1024;
    analyser.smoothingTimeConstant = 0.6;
    this.analyser = analyser;
    this.source = this.context.createMediaStreamSource(new MediaStream([track]));
    this.source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      this.level = loudness(samples);
      this.onLevel(this.level);
    }, 33);
  }

  stop() {
    clearInterval(this.timer);
    this.source?.disconnect();
    this.source = this.analyser = null;
    this.level = 0;
    this.onLevel(0);
  }

  /** The spectrum in so many bands, low to high, each 0 to 1; null while nothing is watched. */
  bands(count) {
    if (!this.analyser) return null;
    const bins = new Uint8Array(this.analyser.frequencyBinCount);
    this.analyser.getByteFrequencyData(bins);
    return inBands(bins, this.context.sampleRate / 2, count);
  }

  /** Browsers start a context silent until the person has touched the page. */
  resume() {
    return this.context?.state === "suspended" ? this.context.resume() : undefined;
  }
}

/**
 * Puts the bins of a spectrum together: bands of equal musical width.
 * @param {Uint8Array} bins 0 to 255 each
 * @param {number} nyquist hertz at the end of the last bin
 */
export function inBands(bins, nyquist, count) {
  const bands = [];
  for (let band = 0; band < count; band += 1) {
    const edge = (n) => Math.round((LOW * (HIGH / LOW) ** (n / count) * bins.length) / nyquist);
    const from = Math.min(edge(band), bins.length - 1);
    const to = Math.min(bins.length, Math.max(from + 1, edge(band + 1)));
    let highest = 0;
    for (let bin = from; bin < to; bin += 1) highest = Math.max(highest, bins[bin]);
    bands.push(highest / 255);
  }
  return bands;
}

export function loudness(samples) {
  let energy = 0;
  for (const sample of samples) energy += sample * sample;
  const decibels = 10 * Math.log10(energy / samples.length + 1e-12);
  return Math.min(1, Math.max(0, 1 - decibels / FLOOR_DB));
}
