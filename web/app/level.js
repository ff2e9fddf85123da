// How loud a track is, as a number from 0 to 1, thirty times a second.

const FLOOR_DB = -60;

export class LevelMeter {
  /** @param {(level: number) => void} onLevel */
  constructor(onLevel) {
    this.onLevel = onLevel;
    this.context = null;
    this.source = null;
    this.timer = 0;
  }

  /** @param {MediaStreamTrack} track */
  watch(track) {
    this.stop();
    this.context ??= new AudioContext();
    const analyser = this.context.createAnalyser();
    analyser.fftSize = 1024;
    this.source = this.context.createMediaStreamSource(new MediaStream([track]));
    this.source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      this.onLevel(loudness(samples));
    }, 33);
  }

  stop() {
    clearInterval(this.timer);
    this.source?.disconnect();
    this.source = null;
    this.onLevel(0);
  }

  /** Browsers start a context silent until the person has touched the page. */
  resume() {
    return this.context?.state === "suspended" ? this.context.resume() : undefined;
  }
}

export function loudness(samples) {
  let energy = 0;
  for (const sample of samples) energy += sample * sample;
  const decibels = 10 * Math.log10(energy / samples.length + 1e-12);
  return Math.min(1, Math.max(0, 1 - decibels / FLOOR_DB));
}
