import assert from "node:assert/strict";
import { test } from "node:test";

import { fitting } from "../../web/app/choices.js";
import { Latency } from "../../web/app/latency.js";
import { loudness } from "../../web/app/level.js";
import { Ticket } from "../../web/app/ticket.js";
import { Transcript, agreement } from "../../web/app/transcript.js";

test("what two partials agree on is firm, up to a word's end", () => {
  assert.equal(agreement("what ti", "what time is"), "what ".length);
  assert.equal(agreement("what time", "what time is it"), "what time".length);
  assert.equal(agreement("", "hello"), 0);
  assert.equal(agreement("hello", "hello"), 5);
  assert.equal(agreement("wad", "what"), 0);
});

test("a final is firm to its end", () => {
  const transcript = new Transcript(() => 0);
  assert.equal(transcript.user("a", "what time", false)[0].firm, 0);
  const [entry] = transcript.user("a", "What time is it?", true);
  assert.deepEqual([entry.firm, entry.done], [16, true]);
});

test("an answer that stops within a sentence while the caller speaks was cut off", () => {
  let now = 0;
  const transcript = new Transcript(() => now);
  transcript.agent("1", "Let me tell you ");
  now = 2000;
  transcript.agentEnd("1");
  now = 2600;
  const changed = transcript.user("2", "stop", false);
  assert.deepEqual(changed.map((entry) => [entry.id, entry.cut]), [["2", false], ["1", true]]);
});

test("an answer that was finished is not cut off by the words after it", () => {
  let now = 0;
  const transcript = new Transcript(() => now);
  transcript.agent("1", "It is five.");
  transcript.agentEnd("1");
  now = 300;
  assert.equal(transcript.user("2", "thanks", true).length, 1);
  assert.deepEqual(transcript.interrupted(), []);
});

test("the agent's record of an interruption marks its answer", () => {
  const transcript = new Transcript(() => 0);
  transcript.agent("1", "Once upon a ");
  assert.deepEqual(transcript.interrupted().map((entry) => entry.cut), [true]);
});

const record = (turn, stages, total, more = {}) =>
  JSON.stringify({ turn, stages_ms: stages, end_to_end_ms: total, interrupted_at: null, ...more });

test("stages are drawn in the order of time, also where an answer was begun ahead", () => {
  const latency = new Latency();
  const stages = { preflight: -20, final: 200, committed: 300, first_token: 150, first_audio_out: 520 };
  latency.add(record(1, stages, 520));
  assert.deepEqual(
    latency.turns[0].stages.map(({ name, from, to }) => [name, from, to]),
    [
      ["preflight", 0, 0], ["first_token", 0, 150], ["final", 150, 200], ["committed", 200, 300],
      ["first_audio_out", 300, 520],
    ],
  );
});

test("an interrupted turn tells how much of its answer was heard", () => {
  const latency = new Latency();
  const more = { interrupted_at: 1.5, heard_until: { seconds: 1.25, characters: 30 } };
  assert.equal(latency.add(record(1, {}, 200, more)).heardS, 1.25);
  assert.equal(latency.add(record(2, {}, 200)).heardS, null);
});

test("percentiles are nearest rank, over the turns and not over the updates", () => {
  const latency = new Latency();
  for (let turn = 1; turn <= 20; turn += 1) latency.add(record(turn, {}, turn * 10));
  assert.equal(latency.add(record(20, {}, 200, { interrupted_at: 1.5 })).interrupted, true);
  assert.equal(latency.turns.length, 20);
  assert.equal(latency.percentile(0.5), 100);
  assert.equal(latency.percentile(0.95), 190);
  assert.equal(new Latency().percentile(0.5), null);
});

test("what is no record is left out", () => {
  const latency = new Latency();
  for (const text of ["", "{", "null", "[]", "{}", record(1, {}, null), record(1, {}, "5")]) {
    assert.equal(latency.add(text), null);
  }
});

test("loudness runs from silence to full scale", () => {
  assert.equal(loudness(new Float32Array(8)), 0);
  assert.equal(loudness(new Float32Array(8).fill(1)), 1);
  const quiet = loudness(new Float32Array(8).fill(0.01));
  assert.ok(quiet > 0.3 && quiet < 0.4);
});

const LISTS = {
  flows: [{ id: "assistant" }, { id: "persona" }],
  characters: [{ id: "everyone" }, { id: "Mira" }],
  voices: [{ id: "lessac", language: "en" }, { id: "amy", language: "en" }, { id: "thorsten", language: "de" }],
  languages: [{ id: "en-GB" }, { id: "de" }, { id: "auto" }],
};
const ids = (list) => list.map(({ id }) => id);

test("characters are chosen where the flow has them", () => {
  assert.deepEqual(ids(fitting(LISTS, {}).character), []);
  assert.deepEqual(ids(fitting(LISTS, { flow: "persona" }).character), ["everyone", "Mira"]);
  assert.deepEqual(ids(fitting({ ...LISTS, flows: [] }, {}).character), ["everyone", "Mira"]);
});

test("voices are those that speak the language, and one alone is no choice", () => {
  assert.deepEqual(ids(fitting(LISTS, {}).voice), ["lessac", "amy"]);
  assert.deepEqual(ids(fitting(LISTS, { language: "de" }).voice), []);
  assert.deepEqual(ids(fitting(LISTS, { language: "auto" }).voice), ["lessac", "amy", "thorsten"]);
});

test("what was chosen at an earlier visit and is no more counts as the first", () => {
  assert.deepEqual(ids(fitting(LISTS, { language: "fi", flow: "gone" }).voice), ["lessac", "amy"]);
});

function ticketAt(clock) {
  const kept = new Map();
  const storage = {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name),
  };
  return new Ticket(storage, () => clock.now);
}

const WISH = { agentName: "a", choices: { voice: "x", flow: "y" }, deviceId: "1" };
const GRANT = { server_url: "ws://here", participant_token: `h.${btoa(JSON.stringify({ exp: 600 }))}.s` };

test("a page that is loaded anew within half a minute comes back to its call", () => {
  const clock = { now: 100_000 };
  const ticket = ticketAt(clock);
  ticket.keep(WISH, GRANT);
  assert.equal(ticket.take(WISH), null, "another tab with a copy of it is no return");
  ticket.left();
  clock.now += 29_000;
  assert.deepEqual(ticket.take({ agentName: "a", choices: { flow: "y", voice: "x" }, deviceId: "2" }), GRANT);
  assert.equal(ticket.take({ agentName: "a", choices: {} }), null, "who chooses anew wants another call");
  clock.now += 2000;
  assert.equal(ticket.take(WISH), null);
});

test("neither a call that was hung up nor one whose token has run out is taken up again", () => {
  const clock = { now: 599_000 };
  const ticket = ticketAt(clock);
  ticket.keep(WISH, GRANT);
  ticket.left();
  clock.now += 2000;
  assert.equal(ticket.take(WISH), null);
  clock.now -= 2000;
  assert.deepEqual(ticket.take(WISH), GRANT);
  ticket.drop();
  assert.equal(ticket.take(WISH), null);
  ticket.left();
  assert.equal(ticket.take(WISH), null);
});
