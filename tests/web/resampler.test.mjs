import assert from "node:assert/strict";
import { test } from "node:test";

import { Resampler } from "../../web/s2s/resampler.js";

const SECONDS = 0.5;

function tone(hertz, rate) {
  return Float32Array.from({ length: rate * SECONDS }, (_, n) => Math.sin((2 * Math.PI * hertz * n) / rate));
}

function resampled(samples, from, to, chunk = 128) {
  const resampler = new Resampler(from, to);
  const out = [];
  for (let at = 0; at < samples.length; at += chunk) out.push(...resampler.push(samples.subarray(at, at + chunk)));
  return Float32Array.from(out);
}

function rms(samples) {
  const middle = samples.subarray(samples.length / 4, (3 * samples.length) / 4);
  return Math.sqrt(middle.reduce((sum, sample) => sum + sample * sample, 0) / middle.length);
}

for (const rate of [8000, 22050, 44100, 48000, 96000]) {
  test(`a tone keeps its level and its pitch from ${rate} Hz`, () => {
    const out = resampled(tone(440, rate), rate, 16000);
    assert.ok(Math.abs(out.length - 16000 * SECONDS) < 16000 * 0.005, `${out.length} samples`);
    assert.ok(Math.abs(rms(out) - Math.SQRT1_2) < 0.01, `level ${rms(out)}`);
    // Without the first moments, where the filter rings.
    let crossings = 0;
    for (let n = out.length / 5 | 0; n < out.length; n += 1) crossings += out[n - 1] < 0 && out[n] >= 0 ? 1 : 0;
    assert.ok(Math.abs(crossings / SECONDS / 0.8 - 440) <= 6, `${crossings / SECONDS / 0.8} Hz`);
  });
}

for (const hertz of [9500, 12000, 15500, 20000]) {
  test(`a tone of ${hertz} Hz does not come back as a lower one`, () => {
    assert.ok(rms(resampled(tone(hertz, 48000), 48000, 16000)) < 0.01);
  });
}

test("how the sound is cut makes no difference", () => {
  const sound = tone(700, 44100);
  const whole = resampled(sound, 44100, 16000, sound.length);
  for (const chunk of [128, 1000]) {
    const out = resampled(sound, 44100, 16000, chunk);
    // The last sample may fall on either side of the end.
    assert.ok(Math.abs(out.length - whole.length) <= 1);
    assert.ok(whole.subarray(0, -1).every((sample, n) => Math.abs(sample - out[n]) < 1e-4));
  }
});

test("the same rate passes through untouched", () => {
  const sound = tone(700, 16000);
  assert.equal(new Resampler(16000, 16000).push(sound), sound);
});
