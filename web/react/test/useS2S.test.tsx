import { act, cleanup, renderHook } from "@testing-library/react";
import { StrictMode } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { useS2S, type S2SOptions } from "../index.js";
import { FakeContext, FakeNode, installAudio } from "./fakeAudio.js";
import { CONVERSATION, FakeSocket, message } from "./fakeSocket.js";

beforeEach(() => {
  vi.useFakeTimers();
  installAudio();
  FakeSocket.install();
});

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const URL_ = "ws://agent.test/ws/s2s";

function talk(options: Partial<S2SOptions> = {}) {
  let draws = 0;
  const hook = renderHook(
    (given: S2SOptions) => {
      draws += 1;
      return useS2S(given);
    },
    { initialProps: { url: URL_, ...options }, wrapper: StrictMode },
  );
  return { ...hook, draws: () => draws };
}

async function connected(options: Partial<S2SOptions> = {}) {
  const hook = talk(options);
  await act(async () => void hook.result.current.connect());
  await FakeSocket.newest.say(message("session_started"));
  return { ...hook, socket: FakeSocket.newest };
}

const passes = (ms: number): Promise<void> => act(async () => void (await vi.advanceTimersByTimeAsync(ms)));
const speaker = (): FakeNode => FakeNode.named("s2s-playback");
const frames = (): unknown[] => speaker().posted.filter((posted) => posted instanceof Float32Array);

test("it connects with the token and the language of now", async () => {
  const { result, rerender } = talk();
  expect(result.current.status).toBe("idle");
  expect(FakeSocket.opened).toHaveLength(0);
  rerender({ url: URL_, token: "open sésame", lang: "zh" });
  let opened: Promise<boolean>;
  await act(async () => void (opened = result.current.connect()));
  expect(result.current.status).toBe("connecting");
  const socket = FakeSocket.newest;
  expect(socket.url).toBe(URL_);
  expect(socket.protocols).toEqual(["s2s.v1", "bearer.b3BlbiBzw6lzYW1l"]);
  expect(socket.sent[0]).toMatchObject({ type: "session_start", lang: "zh" });
  await socket.say(message("session_started"));
  expect(await opened!).toBe(true);
  expect(result.current.status).toBe("listening");
});

test("a path is looked for on the page's own server", async () => {
  await connected({ url: "/ws/s2s" });
  expect(FakeSocket.newest.url).toBe("ws://localhost:3000/ws/s2s");
});

test("connecting twice opens one conversation", async () => {
  const { result } = await connected();
  await act(() => result.current.connect());
  expect(FakeSocket.opened).toHaveLength(1);
});

test("a whole conversation, status by status", async () => {
  const { result } = talk();
  await act(async () => void result.current.connect());
  const seen: string[] = [];
  for (const said of CONVERSATION) {
    await FakeSocket.newest.say(said);
    await passes(50);
    if (seen.at(-1) !== result.current.status) seen.push(result.current.status);
  }
  const answer = ["thinking", "speaking", "listening"];
  expect(seen).toEqual(["listening", ...answer, ...answer]);
  expect(result.current.transcript).toEqual([
    { id: 1, who: "agent", text: "Welcome.", partial: false, interrupted: false, spoken: "Welcome." },
    { id: 2, who: "user", text: "hello there", partial: false, interrupted: false, spoken: "" },
    { id: 3, who: "agent", text: "Good day.", partial: false, interrupted: true, spoken: "Good " },
  ]);
  expect(result.current.agentText).toBe("Good day.");
  expect(result.current.error?.code).toBe("stage_failed");
});

test("words that are not sure yet are marked, and stay one entry", async () => {
  const { result, socket } = await connected();
  await socket.say(message("asr_partial", { text: "hel" }));
  await passes(50);
  const [unsure] = result.current.transcript;
  expect(unsure).toMatchObject({ who: "user", text: "hel", partial: true });
  await socket.say(message("asr_final", { text: "hello" }));
  expect(result.current.transcript).toEqual([{ ...unsure, text: "hello", partial: false }]);
});

test("words that turn out to be none leave nothing", async () => {
  const { result, socket } = await connected();
  await socket.say(message("asr_partial"), message("asr_final", { text: "" }));
  expect(result.current.transcript).toEqual([]);
  expect(result.current.status).toBe("listening");
});

test("who goes on speaking is listened to", async () => {
  const { result, socket } = await connected();
  await socket.say(message("asr_final"));
  expect(result.current.status).toBe("thinking");
  await passes(50);
  await socket.say(message("asr_partial"));
  expect(result.current.status).toBe("listening");
});

test("a flood of tokens is drawn twenty times a second, and none is lost", async () => {
  const { result, socket, draws } = await connected();
  const before = draws();
  for (let token = 0; token < 200; token += 1) {
    await socket.say(message("llm_token", { token: "x", is_first: token === 0 }));
    await passes(5);
  }
  // StrictMode draws everything twice.
  expect((draws() - before) / 2).toBeLessThanOrEqual(21);
  await passes(50);
  expect(result.current.agentText).toBe("x".repeat(200));
});

test("the voice is played and handed on", async () => {
  const onAudio = vi.fn();
  const { socket } = await connected({ onAudio });
  await socket.say(message("audio_stream_start"));
  await socket.frame(0);
  expect(frames()).toHaveLength(1);
  expect(onAudio).toHaveBeenCalledOnce();
  await socket.say(message("audio_stream_stop"));
  expect(speaker().posted.at(-1)).toBe("end");
});

test("where the page plays the voice itself, no loudspeaker is opened", async () => {
  const onAudio = vi.fn();
  const { socket } = await connected({ onAudio, play: false });
  await socket.say(message("audio_stream_start"));
  await socket.frame(0);
  expect(onAudio).toHaveBeenCalledOnce();
  expect(FakeContext.made).toHaveLength(0);
});

test("interrupting silences at once, with what was still under way", async () => {
  const { result, socket } = await connected();
  await socket.say(message("llm_token"), message("audio_stream_start"));
  await socket.frame(0);
  act(() => result.current.interrupt());
  expect(socket.sentOf("interrupt")).toHaveLength(1);
  expect(speaker().posted.at(-1)).toBe("clear");
  await socket.frame(1);
  expect(frames()).toHaveLength(1);
  const cutOff = { interrupted: true };
  await socket.say(message("audio_stream_stop", cutOff), message("response_end", cutOff));
  expect(result.current.status).toBe("listening");
  expect(result.current.transcript.at(-1)).toMatchObject({ partial: false, interrupted: true });
  await socket.say(message("audio_stream_start"));
  await socket.frame(2);
  expect(frames()).toHaveLength(2);
});

test("captured sound goes out in numbered frames, and nowhere before and after", async () => {
  const { result, socket } = await connected();
  const { pushAudio } = result.current;
  expect(pushAudio(new ArrayBuffer(640))).toBe(true);
  expect(pushAudio(new ArrayBuffer(640))).toBe(true);
  expect(socket.sentOf("audio_chunk")).toMatchObject([{ seq: 0 }, { seq: 1 }]);
  expect(socket.sent.filter((sent) => sent instanceof ArrayBuffer)).toHaveLength(2);
  act(() => result.current.endAudio());
  expect(socket.sentOf("audio_end")).toHaveLength(1);
  await act(() => result.current.disconnect());
  expect(pushAudio(new ArrayBuffer(640))).toBe(false);
  expect(talk().result.current.pushAudio(new ArrayBuffer(640))).toBe(false);
});

test("a lost connection is taken up again; nothing from before is left open", async () => {
  const onError = vi.fn();
  const { result, socket } = await connected({ onError });
  await socket.say(message("asr_final"), message("llm_token", { token: "Good " }), message("audio_stream_start"));
  await socket.frame(0);
  await socket.say(message("asr_partial", { text: "wai" }));
  await socket.lose();
  expect(result.current.status).toBe("reconnecting");
  expect(speaker().posted.at(-1)).toBe("clear");
  expect(result.current.transcript.map(({ text, partial, interrupted }) => [text, partial, interrupted])).toEqual([
    ["hello there", false, false],
    ["Good ", false, true],
  ]);
  // The server has not noticed yet: no error that anybody needs to see.
  await passes(0);
  const early = FakeSocket.newest;
  await early.say(message("error", { code: "session_in_use" }));
  await passes(250);
  const again = FakeSocket.newest;
  expect(again.sent[0]).toMatchObject({ type: "session_resume", last_seq: 0 });
  await again.say(message("session_started", { resumed: true, last_seq: 5 }));
  expect(result.current).toMatchObject({ status: "listening", error: null });
  expect(onError).not.toHaveBeenCalled();
  expect(result.current.pushAudio(new ArrayBuffer(640))).toBe(true);
});

test("a session that is over cannot be taken up, and says so", async () => {
  const onError = vi.fn();
  const { result, socket } = await connected({ onError });
  await socket.lose();
  await passes(0);
  await FakeSocket.newest.say(message("error", { code: "unknown_session", message: "that session is over" }));
  expect(result.current).toMatchObject({ status: "error", error: { code: "unknown_session" } });
  expect(onError).toHaveBeenCalledOnce();
  expect(FakeContext.made.every((context) => context.state === "closed")).toBe(true);
});

test("a server that stays away is given up, and a new conversation may begin", async () => {
  const { result, socket } = await connected();
  await socket.lose();
  for (let tries = 0; tries < 8; tries += 1) {
    await passes(8000);
    await FakeSocket.newest.lose();
  }
  expect(result.current).toMatchObject({ status: "error", error: { code: "lost", recoverable: true } });
  await act(async () => void result.current.connect());
  await FakeSocket.newest.say(message("session_started"));
  expect(result.current).toMatchObject({ status: "listening", error: null, transcript: [] });
  expect(FakeSocket.newest.sent[0]).toMatchObject({ type: "session_start" });
});

test("a refusal to open is an error with the server's words", async () => {
  const onError = vi.fn();
  const { result } = talk({ onError });
  let opened: Promise<boolean>;
  await act(async () => void (opened = result.current.connect()));
  const refusal = { code: "busy", message: "no more sessions just now; try again later", recoverable: true };
  await FakeSocket.newest.say(message("error", refusal));
  expect(await opened!).toBe(false);
  expect(result.current).toMatchObject({ status: "error", error: refusal });
  expect(onError.mock.calls).toEqual([[refusal]]);
});

test("a server that does not answer, or refuses the token, is told of", async () => {
  const { result } = talk();
  await act(async () => void result.current.connect());
  await FakeSocket.newest.lose();
  expect(result.current).toMatchObject({ status: "error", error: { code: "lost" } });
  expect(result.current.error?.message).toMatch(/token/);
});

test("an address that is none is an error, not an exception", async () => {
  vi.stubGlobal(
    "WebSocket",
    class {
      constructor() {
        throw new DOMException("The URL is invalid.", "SyntaxError");
      }
    },
  );
  const { result } = talk({ url: "http://[" });
  expect(await act(() => result.current.connect())).toBe(false);
  expect(result.current).toMatchObject({ status: "error", error: { code: "failed", recoverable: false } });
});

test("an error that is survived is shown until the caller speaks again", async () => {
  const onError = vi.fn();
  const { result, socket } = await connected({ onError });
  await socket.say(message("error"));
  expect(result.current.status).toBe("listening");
  expect(result.current.error?.recoverable).toBe(true);
  expect(onError).toHaveBeenCalledOnce();
  await socket.say(message("asr_final"));
  expect(result.current.error).toBeNull();
});

test.each([
  ["session_timeout", "closed"],
  ["too_many_errors", "error"],
])("the server ends the conversation with %s: %s", async (code, status) => {
  const { result, socket } = await connected();
  await socket.say(message("error", { code, recoverable: false }));
  await socket.lose(code === "session_timeout" ? 1000 : 1008);
  expect(result.current).toMatchObject({ status, error: { code } });
  expect(FakeSocket.opened).toHaveLength(1);
});

test("without a loudspeaker the answers can still be read", async () => {
  FakeContext.refusesWorklets = true;
  const { result, socket } = await connected();
  expect(result.current).toMatchObject({ status: "listening", error: { code: "speaker_failed", recoverable: true } });
  await socket.say(message("llm_token"), message("audio_stream_start"));
  await socket.frame(0);
  expect(result.current.agentText).toBe("Welcome.");
});

test("a page that the browser keeps silent says what to do", async () => {
  FakeContext.startsAs = "suspended";
  const { result, socket } = await connected();
  await socket.say(message("audio_stream_start"));
  expect(result.current.error).toMatchObject({ code: "page_silent", recoverable: true });
});

test("disconnecting ends the conversation and keeps what was said", async () => {
  const { result, socket } = await connected();
  await socket.say(message("asr_final"), message("llm_token"));
  await act(() => result.current.disconnect());
  expect(socket.closedWith).toBe(1000);
  expect(result.current).toMatchObject({ status: "closed", error: null });
  expect(result.current.transcript.map(({ partial }) => partial)).toEqual([false, false]);
  expect(FakeContext.made[0]!.state).toBe("closed");
  await passes(60_000);
  expect(FakeSocket.opened).toHaveLength(1);
});

test("disconnected while connecting, it stays so", async () => {
  const { result } = talk();
  let opened: Promise<boolean>;
  await act(async () => void (opened = result.current.connect()));
  await act(() => result.current.disconnect());
  expect(await opened!).toBe(false);
  expect(FakeSocket.newest.closedWith).toBe(1000);
  expect(result.current).toMatchObject({ status: "closed", error: null });
});

test("unmounting closes the socket and the loudspeaker, and leaves no timer", async () => {
  const { socket, unmount } = await connected();
  await socket.say(message("llm_token"));
  unmount();
  await act(async () => {});
  expect(socket.closedWith).toBe(1000);
  expect(FakeContext.made.every((context) => context.state === "closed")).toBe(true);
  await passes(60_000);
  expect(vi.getTimerCount()).toBe(0);
  expect(FakeSocket.opened).toHaveLength(1);
});

test("unmounted before the loudspeaker is ready, it opens no connection", async () => {
  const { result, unmount } = talk();
  act(() => {
    void result.current.connect();
    unmount();
  });
  await act(async () => {});
  expect(FakeSocket.opened).toHaveLength(0);
  expect(FakeContext.made.every((context) => context.state === "closed")).toBe(true);
});

test("the functions stay the same from render to render", async () => {
  const { result, socket, rerender } = await connected();
  const { connect, disconnect, interrupt, pushAudio, endAudio } = result.current;
  await socket.say(message("asr_final"));
  rerender({ url: "ws://elsewhere.test/ws/s2s" });
  expect(result.current).toMatchObject({ connect, disconnect, interrupt, pushAudio, endAudio });
});
