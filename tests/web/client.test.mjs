import assert from "node:assert/strict";
import { test } from "node:test";

import { S2SClient } from "../../web/s2s/client.js";

/** A socket that the test drives from the server's side. */
class FakeSocket {
  static opened = [];

  constructor(url, protocols) {
    Object.assign(this, { url, protocols, sent: [], closedWith: null, readyState: 1 });
    FakeSocket.opened.push(this);
    queueMicrotask(() => this.onopen());
  }

  send(data) {
    this.sent.push(typeof data === "string" ? JSON.parse(data) : data);
  }

  close(code) {
    this.closedWith = code;
    this.onclose({ code, reason: "" });
  }

  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  frame(seq) {
    this.say({ type: "tts_audio", seq });
    this.onmessage({ data: new ArrayBuffer(4) });
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const started = (client, lastSeq = -1) => ({ type: "session_started", session_id: client.sessionId, last_seq: lastSeq });

async function open(options = {}) {
  FakeSocket.opened = [];
  const waits = [];
  const client = new S2SClient({
    url: "ws://x/ws/s2s",
    WebSocket: FakeSocket,
    wait: async (ms) => waits.push(ms),
    ...options,
  });
  const states = [];
  const frames = [];
  client.addEventListener("state", ({ detail }) => states.push(detail));
  client.addEventListener("audio", () => frames.push(client.lastSeq));
  const opening = client.open();
  await turn();
  const socket = FakeSocket.opened[0];
  socket.say(started(client));
  await opening;
  return { client, socket, states, frames, waits };
}

test("it opens a session and says what its sound is like", async () => {
  const { client, socket, states } = await open({ lang: "en" });
  assert.deepEqual(socket.sent[0], {
    type: "session_start",
    session_id: client.sessionId,
    lang: "en",
    audio: { sample_rate: 16000, format: "pcm16", channels: 1 },
    output_sample_rate: 24000,
  });
  assert.match(client.sessionId, /^[0-9a-f]{32}$/);
  assert.deepEqual(states, ["connecting", "open"]);
});

test("a key goes along as a subprotocol, for browsers send no headers", async () => {
  const { socket } = await open({ token: "open sésame" });
  assert.deepEqual(socket.protocols, ["s2s.v1", "bearer.b3BlbiBzw6lzYW1l"]);
});

test("each frame is announced by its number", async () => {
  const { client, socket } = await open();
  client.sendAudio(new ArrayBuffer(640));
  client.sendAudio(new ArrayBuffer(640));
  const announced = socket.sent.filter((sent) => sent.type === "audio_chunk").map((sent) => sent.seq);
  assert.deepEqual(announced, [0, 1]);
});

test("sound plays while a stream runs, and none that is old or has no number", async () => {
  const { socket, frames } = await open();
  socket.frame(0);
  socket.say({ type: "audio_stream_start" });
  socket.frame(1);
  socket.frame(1);
  socket.frame(2);
  socket.onmessage({ data: new ArrayBuffer(4) });
  socket.say({ type: "audio_stream_stop" });
  socket.frame(3);
  assert.deepEqual(frames, [1, 2]);
});

test("a socket that is closing takes nothing more", async () => {
  const { client, socket } = await open();
  const before = socket.sent.length;
  socket.readyState = 2;
  assert.equal(client.sendAudio(new ArrayBuffer(640)), false);
  client.interrupt();
  client.endAudio();
  assert.equal(socket.sent.length, before);
});

test("a broken line is taken up, and sound from before it stays out", async () => {
  const { client, socket, states, frames } = await open();
  socket.say({ type: "audio_stream_start" });
  socket.frame(0);
  socket.onclose({ code: 1006, reason: "" });
  await turn();
  const again = FakeSocket.opened[1];
  assert.deepEqual(again.sent[0], { type: "session_resume", session_id: client.sessionId, last_seq: 0 });
  assert.equal(client.sendAudio(new ArrayBuffer(640)), false);
  again.say(started(client, 7));
  await turn();
  again.say({ type: "audio_stream_start" });
  again.frame(7);
  again.frame(8);
  assert.deepEqual(frames, [0, 8]);
  assert.deepEqual(states, ["connecting", "open", "reconnecting", "open"]);
});

test("it waits longer from try to try, and gives up at last", async () => {
  const { socket, states, waits } = await open();
  socket.onclose({ code: 1006, reason: "" });
  for (let tries = 0; tries < 20; tries += 1) {
    await turn();
    FakeSocket.opened.at(-1).onclose({ code: 1006, reason: "" });
  }
  assert.deepEqual(waits, [0, 250, 500, 1000, 2000, 4000, 8000, 8000]);
  assert.equal(states.at(-1), "closed");
});

test("a session that is over is not asked for again", async () => {
  const { socket, states, waits } = await open();
  socket.onclose({ code: 1006, reason: "" });
  await turn();
  FakeSocket.opened[1].say({ type: "error", code: "unknown_session", message: "over", recoverable: true });
  await turn();
  assert.equal(states.at(-1), "closed");
  assert.equal(waits.length, 1);
});

test("a refusal to open is an error with its code", async () => {
  const client = new S2SClient({ url: "ws://x", WebSocket: FakeSocket });
  FakeSocket.opened = [];
  const opening = client.open();
  await turn();
  FakeSocket.opened[0].say({ type: "error", code: "busy", message: "no room", recoverable: true });
  await assert.rejects(opening, { code: "busy", message: "no room" });
  assert.equal(client.state, "closed");
});

test("leaving ends the session for good", async () => {
  const { client, socket, states } = await open();
  client.close();
  await turn();
  assert.equal(socket.closedWith, 1000);
  assert.equal(FakeSocket.opened.length, 1);
  assert.equal(states.at(-1), "closed");
});

test("wishes go with the start, what is written goes while it is open, and a session is taken up by its id", async () => {
  const { client, socket } = await open({ wishes: { flow: "persona", character: "Leo" } });
  assert.equal(socket.sent[0].flow, "persona");
  assert.equal(socket.sent[0].character, "Leo");
  assert.equal(client.say("hello"), true);
  assert.deepEqual(socket.sent.at(-1), { type: "text", text: "hello" });
  client.close();
  assert.equal(client.say("too late"), false);

  FakeSocket.opened = [];
  const again = new S2SClient({ url: "ws://x/ws/s2s", WebSocket: FakeSocket });
  const opening = again.takeUp("the-id-of-before");
  await turn();
  const [second] = FakeSocket.opened;
  assert.deepEqual(second.sent[0], { type: "session_resume", session_id: "the-id-of-before", last_seq: -1 });
  second.say(started(again, 41));
  await opening;
  assert.deepEqual([again.state, again.lastSeq], ["open", 41]);
});
