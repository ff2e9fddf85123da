import { useEffect, useMemo, useState, useSyncExternalStore } from "react";

import { Session, type S2SOptions, type SessionState } from "./session.js";

export interface S2S extends SessionState {
  /** Begins a conversation, with the options of now; true once it is open. Call it from a click. */
  connect: () => Promise<boolean>;
  /** Ends the conversation. */
  disconnect: () => Promise<void>;
  /** Makes the agent be quiet. */
  interrupt: () => void;
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
export function useS2S(options: S2SOptions): S2S {
  const [session] = useState(() => new Session(options));
  useEffect(() => {
    session.options = options;
  });
  useEffect(() => () => void session.disconnect(), [session]);
  const state = useSyncExternalStore(session.store.subscribe, session.store.snapshot, session.store.snapshot);
  return useMemo(() => {
    const { connect, disconnect, interrupt, pushAudio, endAudio } = session;
    return { ...state, connect, disconnect, interrupt, pushAudio, endAudio };
  }, [session, state]);
}
