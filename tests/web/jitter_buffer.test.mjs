import assert from "node:assert/strict";
import { test } from "node:test";

import { JitterBuffer } from "../../web/s2s/jitter_buffer.js";

const RATE = 1000; // one sample a millisecond
const buffer = () => new JitterBuffer({ sampleRate: RATE });

/** Samples that count up, so that a gap or a repetition shows. */
let next = 1;
const ms = (count) => Float32Array.from({ length: count }, () => next++);
const pull = (jitter, count) => {
  const output = new Float32Array(count);
  const filled = jitter.pull(output);
  return { filled, first: output[0], last: output[count - 1] };
};

test("it waits for 100 ms before it plays", () => {
  const jitter = buffer();
  jitter.push(ms(99));
  assert.equal(pull(jitter, 10).filled, 0);
  jitter.push(ms(1));
  assert.equal(pull(jitter, 10).filled, 10);
});

test("what comes in pieces goes out without a gap", () => {
  next = 1;
  const jitter = buffer();
  for (const size of [37, 63, 20, 41, 39]) jitter.push(ms(size));
  const heard = [];
  for (let at = 0; at < 200; at += 8) {
    const output = new Float32Array(8);
    jitter.pull(output);
    heard.push(...output);
  }
  assert.deepEqual(heard, Array.from({ length: 200 }, (_, n) => n + 1));
});

test("beyond 500 ms the oldest is dropped, down to 300", () => {
  next = 1;
  const jitter = buffer();
  jitter.push(ms(500));
  assert.equal(jitter.length, 500);
  jitter.push(ms(20));
  assert.equal(jitter.length, 300);
  assert.equal(pull(jitter, 1).first, 221);
});

test("run dry, it gathers again before it goes on", () => {
  const jitter = buffer();
  jitter.push(ms(100));
  assert.equal(pull(jitter, 120).filled, 100);
  jitter.push(ms(50));
  assert.equal(pull(jitter, 10).filled, 0);
  jitter.push(ms(50));
  assert.equal(pull(jitter, 10).filled, 10);
});

test("the end is played, however short", () => {
  const jitter = buffer();
  jitter.push(ms(30));
  jitter.end();
  assert.equal(pull(jitter, 40).filled, 30);
});

test("after an end, new sound begins anew", () => {
  const jitter = buffer();
  jitter.push(ms(200));
  jitter.end();
  next = 5000;
  jitter.push(ms(100));
  assert.equal(pull(jitter, 1).first, 5000);
});

test("cleared, it is silent at once", () => {
  const jitter = buffer();
  jitter.push(ms(300));
  pull(jitter, 10);
  jitter.clear();
  assert.deepEqual(pull(jitter, 10), { filled: 0, first: 0, last: 0 });
});
