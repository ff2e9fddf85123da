import { act, cleanup, renderHook } from "@testing-library/react";
import { StrictMode, useEffect } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { useAudioCapture, type CaptureOptions } from "../index.js";
import { FakeContext, FakeNode, installAudio, type FakeDevices } from "./fakeAudio.js";

let devices: FakeDevices;

beforeEach(() => {
  vi.useFakeTimers();
  devices = installAudio();
});

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function capture(options: CaptureOptions = {}) {
  let draws = 0;
  const hook = renderHook(
    (given: CaptureOptions) => {
      draws += 1;
      return useAudioCapture(given);
    },
    { initialProps: options, wrapper: StrictMode },
  );
  await act(async () => {});
  return { ...hook, draws: () => draws };
}

const microphone = (): FakeNode => FakeNode.named("s2s-capture");

/** Nothing of the microphone is left: no track that runs, no context that is open. */
function expectGivenBack(): void {
  expect(devices.tracks.every((track) => track.stopped)).toBe(true);
  expect(FakeContext.made.every((context) => context.state === "closed")).toBe(true);
}

test("the microphone is asked for on start, and not before", async () => {
  const onFrame = vi.fn();
  const decide = devices.hesitate();
  const { result } = await capture({ onFrame });
  expect(result.current.status).toBe("idle");
  expect(devices.asked).toHaveLength(0);
  let started: Promise<boolean>;
  await act(async () => void (started = result.current.start()));
  expect(result.current.status).toBe("asking");
  await decide();
  expect(await started!).toBe(true);
  expect(result.current.status).toBe("capturing");
  await microphone().hear(0.1);
  expect(onFrame).toHaveBeenCalledOnce();
  expect(onFrame.mock.calls[0]![0]).toHaveProperty("byteLength", 640);
});

test("starting twice asks once", async () => {
  const { result } = await capture();
  await act(() => Promise.all([result.current.start(), result.current.start()]));
  await act(() => result.current.start());
  expect(devices.tracks).toHaveLength(1);
});

test.each([
  ["NotAllowedError", "denied", "denied", /Allow it/],
  ["NotFoundError", "failed", "not_found", /Plug one in/],
  ["NotReadableError", "failed", "in_use", /Close it/],
  ["NotSupportedError", "failed", "unsupported", /Use a current/],
  ["AbortError", "failed", "failed", /Choose another/],
])("after %s it says what to do, and may be started again", async (name, status, code, advice) => {
  devices.refuse(name);
  const { result } = await capture();
  expect(await act(() => result.current.start())).toBe(false);
  expect(result.current.status).toBe(status);
  expect(result.current.error?.code).toBe(code);
  expect(result.current.error?.message).toMatch(advice);
  devices.answer = async () => {};
  expect(await act(() => result.current.start())).toBe(true);
  expect(result.current.error).toBeNull();
});

test("a page that gets no microphone at all says why", async () => {
  Object.defineProperty(navigator, "mediaDevices", { value: undefined, configurable: true });
  const { result } = await capture();
  expect(await act(() => result.current.start())).toBe(false);
  expect(result.current.error?.code).toBe("insecure");
  installAudio();
  expect(await act(() => result.current.start())).toBe(true);
});

test("a worklet that cannot be loaded gives the microphone back", async () => {
  FakeContext.refusesWorklets = true;
  const { result } = await capture();
  await act(() => result.current.start());
  expect(result.current.status).toBe("failed");
  expect(devices.tracks).toHaveLength(1);
  expectGivenBack();
});

test("muted, it hands on nothing and the device shows it", async () => {
  const onFrame = vi.fn();
  const { result } = await capture({ onFrame });
  await act(async () => result.current.setMuted(true));
  await act(() => result.current.start());
  expect(devices.tracks[0]!.enabled).toBe(false);
  await microphone().hear(0.5);
  expect(onFrame).not.toHaveBeenCalled();
  expect(result.current.level).toBe(0);
  await act(async () => result.current.setMuted(false));
  expect(devices.tracks[0]!.enabled).toBe(true);
  await microphone().hear(0.5);
  expect(onFrame).toHaveBeenCalledOnce();
});

test("the level is shown ten times a second, not with each frame", async () => {
  const { result, draws } = await capture();
  await act(() => result.current.start());
  const before = draws();
  for (let frame = 0; frame < 50; frame += 1) {
    await microphone().hear(frame / 50);
    await act(async () => vi.advanceTimersByTime(20));
  }
  // StrictMode draws everything twice; 50 frames of 20 ms are one second.
  expect((draws() - before) / 2).toBeGreaterThanOrEqual(9);
  expect((draws() - before) / 2).toBeLessThanOrEqual(11);
  expect(result.current.level).toBeGreaterThan(0.9);
});

test("silence draws nothing", async () => {
  const { result, draws } = await capture();
  await act(() => result.current.start());
  const before = draws();
  for (let frame = 0; frame < 50; frame += 1) {
    await microphone().hear(0);
    await act(async () => vi.advanceTimersByTime(20));
  }
  expect(draws()).toBe(before);
});

test("devices are listed, followed and chosen", async () => {
  const { result } = await capture();
  expect(result.current.devices.map(({ deviceId }) => deviceId)).toEqual(["built-in", "headset"]);
  devices.list.push("camera");
  await act(async () => devices.dispatchEvent(new Event("devicechange")));
  expect(result.current.devices).toHaveLength(3);
  await act(() => result.current.start());
  expect(result.current.deviceId).toBe("built-in");
  await act(() => result.current.selectDevice("headset"));
  expect(result.current).toMatchObject({ deviceId: "headset", status: "capturing" });
  expect(devices.tracks.map(({ deviceId, stopped }) => [deviceId, stopped])).toEqual([
    ["built-in", true],
    ["headset", false],
  ]);
});

test("a device that is chosen while nothing runs is used at the next start", async () => {
  const { result } = await capture();
  await act(() => result.current.selectDevice("headset"));
  expect(devices.asked).toHaveLength(0);
  await act(() => result.current.start());
  expect(devices.asked).toEqual([expect.objectContaining({ deviceId: "headset" })]);
});

test("a microphone that is pulled out is told of", async () => {
  const { result } = await capture();
  await act(() => result.current.start());
  await act(async () => devices.tracks[0]!.dispatchEvent(new Event("ended")));
  expect(result.current.status).toBe("failed");
  expect(result.current.error?.code).toBe("unplugged");
  expectGivenBack();
});

test("stopping gives the microphone back, and late frames are not handed on", async () => {
  const onFrame = vi.fn();
  const { result } = await capture({ onFrame });
  await act(() => result.current.start());
  await act(() => result.current.stop());
  await microphone().hear(0.5);
  expect(onFrame).not.toHaveBeenCalled();
  expect(result.current).toMatchObject({ status: "idle", level: 0 });
  expectGivenBack();
});

test("unmounting gives the microphone back", async () => {
  const { result, unmount } = await capture();
  await act(() => result.current.start());
  unmount();
  await act(async () => {});
  expect(devices.tracks).toHaveLength(1);
  expectGivenBack();
  expect(vi.getTimerCount()).toBe(0);
});

test("unmounted while the browser asks, it gives back what it gets", async () => {
  const decide = devices.hesitate();
  const { result, unmount } = await capture();
  await act(async () => void result.current.start());
  unmount();
  await decide();
  expect(devices.tracks).toHaveLength(1);
  expectGivenBack();
});

test("started by an effect that StrictMode runs twice, one microphone is left", async () => {
  const { result } = renderHook(
    () => {
      const hook = useAudioCapture();
      const { start } = hook;
      useEffect(() => void start(), [start]);
      return hook;
    },
    { wrapper: StrictMode },
  );
  await act(async () => {});
  expect(result.current.status).toBe("capturing");
  expect(devices.tracks.map(({ stopped }) => stopped)).toEqual([true, false]);
});

test("the functions stay the same, and the newest callback is called", async () => {
  const [first, second] = [vi.fn(), vi.fn()];
  const { result, rerender } = await capture({ onFrame: first });
  const { start, stop, setMuted, selectDevice } = result.current;
  await act(() => start());
  rerender({ onFrame: second });
  expect(result.current).toMatchObject({ start, stop, setMuted, selectDevice });
  await microphone().hear(0.5);
  expect(first).not.toHaveBeenCalled();
  expect(second).toHaveBeenCalledOnce();
});

test("the worklet is loaded from where it is served", async () => {
  const { result } = await capture({ worklet: "/s2s/capture_worklet.js" });
  await act(() => result.current.start());
  expect(FakeContext.made[0]!.modules).toEqual(["/s2s/capture_worklet.js"]);
});
