// The hook with the microphone in it, by the names of the documents, and the button on it.

import { act, cleanup, render, renderHook, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { useAudioCapture, useS2S, VoiceButton, type UseS2SOptions } from "../index.js";
import { FakeNode, installAudio, type FakeDevices } from "./fakeAudio.js";
import { FakeSocket, message } from "./fakeSocket.js";

let devices: FakeDevices;

beforeEach(() => {
  vi.useFakeTimers();
  devices = installAudio();
  FakeSocket.install();
});

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const passes = (ms: number): Promise<void> => act(async () => void (await vi.advanceTimersByTimeAsync(ms)));
const capture = (): FakeNode => FakeNode.named("s2s-capture");

async function listening(options: UseS2SOptions = {}) {
  const hook = renderHook(() => useS2S({ serverUrl: "https://agent.test", language: "en", ...options }));
  let starting: Promise<boolean>;
  await act(async () => void (starting = hook.result.current.startListening()));
  await FakeSocket.newest.say(message("session_started"));
  await act(async () => void (await starting));
  return { ...hook, socket: FakeSocket.newest };
}

test("a server is enough of an address, and listening connects", async () => {
  const { result, socket } = await listening();
  expect(socket.url).toBe("wss://agent.test/ws/s2s");
  expect(socket.sent[0]).toMatchObject({ type: "session_start", lang: "en" });
  expect([result.current.isConnected, result.current.isListening]).toEqual([true, true]);
  await capture().hear(0.1);
  expect(socket.sent.filter((sent) => sent instanceof ArrayBuffer)).toHaveLength(1);
});

test("each event goes to its callback, in plain values", async () => {
  const heard: unknown[][] = [];
  const note =
    (name: string) =>
    (...values: unknown[]): void =>
      void heard.push([name, values[0]]);
  const { result, socket } = await listening({
    onAsrPartial: note("partial"),
    onAsrFinal: note("final"),
    onLlmToken: note("token"),
    onTtsAudio: note("audio"),
    onSpoken: note("spoken"),
    onResponseEnd: note("end"),
  });
  const played = FakeNode.made.filter((node) => node.name === "s2s-playback");
  await socket.say(message("asr_partial", { text: "hel" }));
  expect(result.current.currentTranscript).toBe("hel");
  await socket.say(message("asr_final", { text: "hello" }));
  expect(result.current.currentTranscript).toBe("hello");
  await socket.say(message("llm_token", { token: "Good day." }));
  await socket.say(message("audio_stream_start"));
  await socket.frame(0);
  await socket.say(message("spoken", { text: "Good day." }));
  await socket.say(message("response_end", { interrupted: false }));
  const audio = heard.find(([name]) => name === "audio")?.[1];
  expect(audio).toBeInstanceOf(ArrayBuffer);
  expect(heard.map(([name]) => name)).toEqual(["partial", "final", "token", "audio", "spoken", "end"]);
  // Whoever takes the voice plays it; twice would be an echo.
  expect(played).toHaveLength(0);
});

test("who stops listening stays connected, and the agent is told", async () => {
  const { result, socket } = await listening();
  await act(() => result.current.stopListening());
  expect([result.current.isConnected, result.current.isListening]).toEqual([true, false]);
  expect(socket.sentOf("audio_end")).toHaveLength(1);
  expect(devices.tracks.every((track) => track.stopped)).toBe(true);
});

test("a conversation that ends gives the microphone back", async () => {
  const { result } = await listening();
  await act(() => result.current.disconnect());
  await passes(0);
  expect(devices.tracks.every((track) => track.stopped)).toBe(true);
  expect(result.current.isListening).toBe(false);
});

test("a microphone that is refused is told of, and the conversation stays", async () => {
  devices.refuse("NotAllowedError");
  const { result } = await listening();
  expect(result.current.error?.code).toBe("denied");
  expect([result.current.isConnected, result.current.isListening]).toEqual([true, false]);
});

test("a reset empties the transcript", async () => {
  const { result, socket } = await listening();
  await socket.say(message("asr_final", { text: "hello" }));
  act(() => result.current.reset());
  expect(socket.sentOf("reset")).toHaveLength(1);
  await socket.say({ type: "session_reset", session_id: "x", last_seq: -1 });
  expect(result.current.transcript).toEqual([]);
});

test("the microphone alone has the documents' names too", async () => {
  const chunks: ArrayBuffer[] = [];
  const { result } = renderHook(() =>
    useAudioCapture({ sampleRate: 48000, chunkInterval: 100, onAudioChunk: (chunk) => chunks.push(chunk) }),
  );
  expect(result.current.isRecording).toBe(false);
  await act(async () => void (await result.current.startRecording()));
  expect(result.current.isRecording).toBe(true);
  expect(capture().options).toMatchObject({ processorOptions: { rate: 48000, frame: 4800 } });
  await capture().hear(0.1);
  expect(chunks).toHaveLength(1);
  await act(() => result.current.stopRecording());
  expect(result.current.isRecording).toBe(false);
});

test("the button begins a conversation, says how it stands, and ends it", async () => {
  render(<VoiceButton serverUrl="https://agent.test" labels={{ idle: "Start" }} className="big" />);
  const button = screen.getByRole("button");
  expect([button.textContent, button.className]).toEqual(["Start", "big"]);
  expect(button.getAttribute("aria-pressed")).toBe("false");
  await act(async () => button.click());
  expect(button.textContent).toBe("Connecting");
  await FakeSocket.newest.say(message("session_started"));
  await passes(0);
  expect([button.textContent, button.getAttribute("aria-pressed")]).toEqual(["Listening", "true"]);
  await act(async () => button.click());
  expect(button.textContent).toBe("Talk");
  expect(devices.tracks.every((track) => track.stopped)).toBe(true);
});

test("the button says why there is no microphone", async () => {
  devices.refuse("NotFoundError");
  render(<VoiceButton serverUrl="https://agent.test" />);
  await act(async () => screen.getByRole("button").click());
  await FakeSocket.newest.say(message("session_started"));
  await passes(0);
  expect(screen.getByRole("alert").textContent).toContain("Plug one in");
});
