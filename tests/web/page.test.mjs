import assert from "node:assert/strict";
import { test } from "node:test";

import { joinAdvice } from "../../web/app/advice.js";
import { RequestError } from "../../web/app/api.js";
import { asOffered, readBadges } from "../../web/app/badges.js";
import { fitting } from "../../web/app/choices.js";
import { chime } from "../../web/app/devices.js";
import { KeptTranscript } from "../../web/app/kept.js";
import { Latency } from "../../web/app/latency.js";
import { inBands, loudness } from "../../web/app/level.js";
import { fileName } from "../../web/app/recorder.js";
import { Ticket } from "../../web/app/ticket.js";
import { Transcript, agreement, asText, lines } from "../../web/app/transcript.js";

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

test("the fragments of one turn stand in one bubble, and a new turn begins after the answer", () => {
  const transcript = new Transcript(() => 0);
  transcript.user("1", "I would like", true);
  const [entry] = transcript.user("2", "to or", false);
  assert.deepEqual([entry.id, entry.text, entry.firm, entry.done], ["1", "I would like to or", 13, false]);
  transcript.user("2", "to order tea.", true);
  assert.equal(entry.text, "I would like to order tea.");
  assert.equal(entry.done, true);
  transcript.agent("3", "Of course.");
  assert.notEqual(transcript.user("4", "thanks", true)[0], entry);
});

test("fragments are joined as their language joins words", () => {
  const transcript = new Transcript(() => 0);
  transcript.user("1", "现在", true);
  assert.equal(transcript.user("2", "几点", true)[0].text, "现在几点");
});

test("a partial that never becomes final goes, and comes back with a late final", () => {
  let now = 0;
  const transcript = new Transcript(() => now);
  transcript.user("1", "hm", false);
  now = 5000;
  assert.deepEqual(transcript.settle(), []);
  now = 7000;
  const [gone] = transcript.settle();
  assert.deepEqual([gone.text, transcript.empty], ["", true]);
  transcript.agent("2", "Hello.");
  const [back] = transcript.user("1", "Hm, well.", true);
  assert.deepEqual([back, back.text, transcript.order.indexOf(back)], [gone, "Hm, well.", 0]);
});

test("what was said over the agent and was no turn stays as an aside", () => {
  let now = 0;
  const transcript = new Transcript(() => now);
  transcript.agent("1", "Once upon a time ");
  transcript.user("2", "mhm", false);
  transcript.agent("1", "there was a king.");
  now = 7000;
  const [aside] = transcript.settle();
  assert.deepEqual([aside.text, aside.aside, aside.done], ["mhm", true, true]);
  transcript.agentEnd("1");
  now = 20_000;
  const [turn] = transcript.user("3", "and then", true);
  assert.notEqual(turn, aside);
});

test("an aside that turns out to be a turn is one", () => {
  let now = 0;
  const transcript = new Transcript(() => now);
  transcript.agent("1", "Once upon ");
  transcript.user("2", "stop", false);
  now = 7000;
  transcript.settle();
  transcript.agentEnd("1");
  assert.equal(transcript.user("3", "please", true)[0].aside, false);
});

test("of an answer that was talked over the words that were not said are kept apart", () => {
  const transcript = new Transcript(() => 0);
  transcript.agent("1", "It is **five**. And ", { ahead: true });
  const [entry] = transcript.agent("1", "then six.", { ahead: true });
  assert.equal(entry.firm, 0);
  transcript.spoken("1", "It is five. ");
  assert.equal(entry.text.slice(0, entry.firm), "It is **five**.");
  transcript.agentEnd("1", { interrupted: true });
  assert.deepEqual([entry.cut, entry.text.slice(entry.heard)], [true, " And then six."]);
  assert.equal(asText(transcript), "Agent: It is **five**. [interrupted]\n");
});

test("an answer that was spoken to its end has nothing unsaid", () => {
  const transcript = new Transcript(() => 0);
  const [entry] = transcript.agent("1", "Good day.", { ahead: true });
  transcript.spoken("1", "Good day.");
  transcript.agentEnd("1", { interrupted: false });
  assert.deepEqual([entry.cut, entry.heard, entry.firm], [false, null, 9]);
});

test("each character's words stand under their name", () => {
  const transcript = new Transcript(() => 0);
  transcript.speaker("Mira", 0);
  const [entry] = transcript.agent("1", "The engine hums. ");
  transcript.speaker("Leo", 20);
  transcript.agent("1", "The stars are out.");
  assert.deepEqual(lines(entry).map(({ name, from, to }) => [name, entry.text.slice(from, to)]), [
    ["Mira", "The engine hums. "],
    ["Leo", "The stars are out."],
  ]);
  assert.equal(asText(transcript), "Mira: The engine hums.\nLeo: The stars are out.\n");
});

test("a name that comes just after its first words belongs to them, and none to what nobody named", () => {
  let now = 0;
  const transcript = new Transcript(() => now);
  const [first] = transcript.agent("1", "The en");
  now = 200;
  transcript.speaker("Mira", 0);
  assert.deepEqual(lines(first).map(({ name }) => name), ["Mira"]);
  transcript.agentEnd("1");
  const [second] = transcript.agent("2", "Goodbye.");
  assert.deepEqual(lines(second).map(({ name }) => name), [null]);
});

test("typed turns have a waterfall of their own and stay out of the figures of speech", () => {
  const latency = new Latency();
  latency.add(record(1, { committed: 0 }, 50, { typed: true }));
  assert.equal(latency.turns[0].typed, true);
  assert.equal(latency.percentile(0.5), 50);
  latency.add(record(2, {}, 400));
  latency.add(record(3, { committed: 0 }, 60, { typed: true }));
  assert.equal(latency.percentile(0.5), 400);
});

function storage() {
  const kept = new Map();
  return {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name),
  };
}

test("a page that is loaded anew has its transcript back, for some minutes", () => {
  const clock = { now: 1_000_000 };
  const kept = new KeptTranscript(storage(), () => clock.now);
  const before = new Transcript(() => 0);
  before.typed("1", "what time is it");
  before.speaker("Mira", 0);
  before.agent("2", "It is five.");
  kept.save(before);
  clock.now += 9 * 60_000;
  const after = new Transcript(() => 0);
  after.restore(kept.load());
  assert.equal(asText(after), "You: what time is it\nMira: It is five.\n");
  assert.notEqual(after.user("3", "and now", true)[0], after.order[0]);
  clock.now += 2 * 60_000;
  assert.deepEqual(kept.load(), []);
  clock.now -= 2 * 60_000;
  assert.deepEqual(kept.load(), [], "what is forgotten is gone");
});

test("what is kept of a long call are its latest words", () => {
  const kept = new KeptTranscript(storage(), () => 0);
  const long = new Transcript(() => 0);
  for (let n = 0; n < 300; n += 1) long.typed(`t${n}`, `${n} ${"word ".repeat(1000)}`);
  kept.save(long);
  const entries = kept.load();
  assert.ok(entries.length > 10 && entries.length < 300);
  assert.ok(entries.at(-1).text.startsWith("299 "));
});

test("a call that waits is offered with what was chosen, for as long as it waits", () => {
  const clock = { now: 100_000 };
  const ticket = ticketAt(clock);
  ticket.keep(WISH, GRANT, { microphone: true });
  assert.equal(ticket.waiting(), null);
  ticket.left({ microphone: false });
  clock.now += 10_000;
  assert.deepEqual(ticket.waiting(), { choices: WISH.choices, microphone: false, forMs: 20_000 });
  clock.now += 21_000;
  assert.equal(ticket.waiting(), null);
});

test("how much is said is no choice where rules answer", () => {
  const lists = { ...LISTS, flows: [...LISTS.flows, { id: "offline" }], economy: [{ id: "off" }, { id: "on" }] };
  assert.deepEqual(ids(fitting(lists, {}).economy), ["off", "on"]);
  assert.deepEqual(ids(fitting(lists, { flow: "offline" }).economy), []);
});

test("whoever can't join is told what to do", () => {
  assert.match(joinAdvice(new RequestError(429, "")), /Wait half a minute/);
  assert.match(joinAdvice(Object.assign(new Error("x"), { code: "unknown_session" })), /Start a new one/);
  assert.match(joinAdvice(Object.assign(new Error("x"), { code: "busy" })), /busy/);
  assert.match(joinAdvice(Object.assign(new Error("x"), { code: 1 }), "ws://here"), /ws:\/\/here/);
});

test("badges are read from a list or its JSON, and nonsense is none", () => {
  const told = [{ stage: "hearing", name: "Whisper", toy: true, note: "n", command: "c" }, { stage: "odd", name: "x" }];
  const read = [{ stage: "hearing", name: "Whisper", toy: true, note: "n", command: "c" }];
  assert.deepEqual(readBadges(told), read);
  assert.deepEqual(readBadges(JSON.stringify(told)), read);
  for (const nonsense of ["{", "{}", [], [{ stage: "hearing", name: 7 }], null, undefined]) assert.equal(readBadges(nonsense), null);
});

test("of an engine that the page's server knows too, its words are shown", () => {
  const badge = (stage, name, command) => ({ stage, name, toy: true, note: "", command });
  const told = [badge("hearing", "Whisper", "agent-worker more"), badge("voice", "Higher", "agent-worker more")];
  const offered = [badge("hearing", "Whisper", ""), badge("voice", "Standard", "")];
  assert.deepEqual(asOffered(told, offered), [offered[0], told[1]]);
  assert.deepEqual(asOffered(told, null), told);
  assert.equal(asOffered(null, offered), null);
});

test("a spectrum in bands shows a tone where it is", () => {
  const bins = new Uint8Array(512);
  bins[Math.round((1000 / 24_000) * 512)] = 255;
  const bands = inBands(bins, 24_000, 12);
  assert.equal(bands.length, 12);
  assert.deepEqual(bands.flatMap((value, band) => (value === 1 ? [band] : [])), [7]);
});

test("the test sound is a WAV file that is neither silent nor clipped", () => {
  const file = chime(24_000);
  const text = (from, to) => String.fromCharCode(...file.slice(from, to));
  assert.deepEqual([text(0, 4), text(8, 16), text(36, 40)], ["RIFF", "WAVEfmt ", "data"]);
  const samples = new Int16Array(file.buffer, 44);
  const loudest = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  assert.ok(loudest > 3000 && loudest < 20_000);
});

test("two recordings of one day have two names", () => {
  assert.equal(fileName("call", "webm", new Date(2026, 0, 2, 3, 4)), "call-2026-01-02-0304.webm");
});
