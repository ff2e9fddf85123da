import { useCallback, useEffect, useMemo, useState, useSyncExternalStore } from "react";

import { Capture, type CaptureOptions } from "./capture.js";
import { Session, type S2SOptions, type S2SStatus, type SessionState } from "./session.js";
import { newestWords } from "./transcript.js";

export interface UseS2SOptions extends S2SOptions {
  /** The microphone of `startListening`. */
  microphone?: Pick<CaptureOptions, "deviceId" | "worklet">;
}

export interface S2S extends SessionState {
  /** Whether a conversation is open. */
  isConnected: boolean;
  /** Whether the microphone of `startListening` is heard. */
  isListening: boolean;
  /** The caller's newest words, sure or not. */
  currentTranscript: string;
  /** Lets the agent hear this page's microphone, connected or not yet; true once it does. Call it from a click. */
  startListening: () => Promise<boolean>;
  /** Gives the microphone back; the conversation stays open. */
  stopListening: () => Promise<void>;
  /** Begins a conversation, with the options of now; true once it is open. Call it from a click. */
  connect: () => Promise<boolean>;
  /** Ends the conversation. */
  disconnect: () => Promise<void>;
  /** Makes the agent be quiet. */
  interrupt: () => void;
  /** Begins anew: the agent forgets what was said. */
  reset: () => void;
  /** Takes 20 to 40 ms of PCM16, mono, 16 kHz; false where it was dropped, for nobody listens. */
  pushAudio: (pcm: ArrayBuffer) => boolean;
  /** Says that what was said is complete, as when a key to talk is let go. */
  endAudio: () => void;
}

/**
 * A conversation with the agent over its WebSocket.
 *
 * A lost connection is taken up again by itself. The functions stay the same from render to render,
 * the newest callbacks are called, and unmounting ends the conversation.
 */
export function useS2S(options: UseS2SOptions = {}): S2S {
  const [session] = useState(() => new Session(options));
  const [microphone] = useState(() => new Capture({}));
  useEffect(() => {
    session.options = options;
    microphone.options = { ...options.microphone, onFrame: session.pushAudio };
  });
  useEffect(
    () => () => {
      void microphone.stop();
      void session.disconnect();
    },
    [session, microphone],
  );
  const state = useSyncExternalStore(session.store.subscribe, session.store.snapshot, session.store.snapshot);
  // Its status alone: its level changes ten times a second.
  const heard = useCallback(() => microphone.store.snapshot().status === "capturing", [microphone]);
  const isCapturing = useSyncExternalStore(microphone.store.subscribe, heard, heard);
  const isConnected = CONNECTED.has(state.status);
  useEffect(() => {
    // A conversation that is over needs no microphone.
    if (OVER.has(state.status)) void microphone.stop();
  }, [microphone, state.status]);
  const startListening = useCallback(async () => {
    if (!(await session.connect())) return false;
    const listens = await microphone.start();
    const { error } = microphone.store.state;
    if (!listens && error !== null) session.reportCapture(error);
    return listens;
  }, [session, microphone]);
  const stopListening = useCallback(async () => {
    await microphone.stop();
    session.endAudio();
  }, [session, microphone]);
  return useMemo(() => {
    const { connect, disconnect, interrupt, reset, pushAudio, endAudio } = session;
    return {
      ...state,
      isConnected,
      isListening: isConnected && isCapturing,
      currentTranscript: newestWords(state.transcript),
      startListening,
      stopListening,
      connect,
      disconnect,
      interrupt,
      reset,
      pushAudio,
      endAudio,
    };
  }, [session, state, isConnected, isCapturing, startListening, stopListening]);
}

const CONNECTED: ReadonlySet<S2SStatus> = new Set(["listening", "thinking", "speaking"]);
const OVER: ReadonlySet<S2SStatus> = new Set(["closed", "error"]);
