import { useEffect, useMemo, useState, useSyncExternalStore } from "react";

import { Capture, type CaptureOptions, type CaptureState } from "./capture.js";

export interface AudioCapture extends CaptureState {
  /** Asks for the microphone; true once it is heard. A failure is told in `status` and `error`. */
  start: () => Promise<boolean>;
  /** Gives the microphone back. */
  stop: () => Promise<void>;
  /** Whether the microphone is heard. */
  isRecording: boolean;
  /** Another name for `start`. */
  startRecording: () => Promise<boolean>;
  /** Another name for `stop`. */
  stopRecording: () => Promise<void>;
  setMuted: (muted: boolean) => void;
  /** Chooses a device of `devices`; what runs goes on with it. */
  selectDevice: (deviceId: string) => Promise<void>;
}

/**
 * The microphone, in frames that the agent takes: `useAudioCapture({ onFrame: agent.pushAudio })`.
 *
 * Nothing is asked for before `start()`. The functions stay the same from render to render, the
 * newest `onFrame` is called, and unmounting gives the microphone back.
 */
export function useAudioCapture(options: CaptureOptions = {}): AudioCapture {
  const [capture] = useState(() => new Capture(options));
  useEffect(() => {
    capture.options = options;
  });
  useEffect(() => {
    const unwatch = capture.watchDevices();
    return () => {
      unwatch();
      void capture.stop();
    };
  }, [capture]);
  const state = useSyncExternalStore(capture.store.subscribe, capture.store.snapshot, capture.store.snapshot);
  return useMemo(() => {
    const { start, stop, setMuted, selectDevice } = capture;
    return {
      ...state,
      isRecording: state.status === "capturing",
      start,
      stop,
      startRecording: start,
      stopRecording: stop,
      setMuted,
      selectDevice,
    };
  }, [capture, state]);
}
