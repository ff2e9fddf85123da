// One button that begins a conversation and ends it, and says what it does meanwhile.

import { useS2S, type S2S, type UseS2SOptions } from "./useS2S.js";
import type { S2SStatus } from "./session.js";

export type VoiceButtonLabels = Record<S2SStatus, string>;

export interface VoiceButtonLook {
  className?: string;
  disabled?: boolean;
  /** What stands on the button, by status. */
  labels?: Partial<VoiceButtonLabels>;
}

export type VoiceButtonProps = VoiceButtonLook & (UseS2SOptions | { agent: S2S });

const LABELS: VoiceButtonLabels = {
  idle: "Talk",
  connecting: "Connecting",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
  reconnecting: "Reconnecting",
  closed: "Talk",
  error: "Try again",
};
const AT_REST: ReadonlySet<S2SStatus> = new Set(["idle", "closed", "error"]);

/**
 * Begins a conversation at the first press, with the microphone, and ends it at the next.
 *
 * With the options of `useS2S` it has a conversation of its own; given `agent`, what `useS2S`
 * returned, it is the button of that one.
 */
export function VoiceButton(props: VoiceButtonProps) {
  return "agent" in props ? <Button {...props} /> : <OwnButton {...props} />;
}

function OwnButton({ className, disabled, labels, ...options }: VoiceButtonLook & UseS2SOptions) {
  const agent = useS2S(options);
  return <Button agent={agent} {...given({ className, disabled, labels })} />;
}

function Button({ agent, className, disabled, labels }: VoiceButtonLook & { agent: S2S }) {
  const { status, error } = agent;
  const atRest = AT_REST.has(status);
  const press = (): void => void (atRest ? agent.startListening() : agent.disconnect());
  return (
    <>
      <button
        type="button"
        className={className}
        disabled={disabled}
        aria-pressed={!atRest}
        data-status={status}
        onClick={press}
      >
        {labels?.[status] ?? LABELS[status]}
      </button>
      {error !== null && <span role="alert">{error.message}</span>}
    </>
  );
}

function given(look: { [K in keyof VoiceButtonLook]: VoiceButtonLook[K] | undefined }): VoiceButtonLook {
  return Object.fromEntries(Object.entries(look).filter(([, value]) => value !== undefined));
}
