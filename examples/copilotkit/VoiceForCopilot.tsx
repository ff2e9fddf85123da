// A voice for a CopilotKit chat: what is said and what is answered becomes part of its conversation.

import { useAgent } from "@copilotkit/react-core/v2";
import { useS2S, VoiceButton } from "livekit-agent-worker-react";
import { useRef } from "react";

type Role = "user" | "assistant";

export function VoiceForCopilot({ serverUrl, token }: { serverUrl: string; token?: string }) {
  const { agent: chat } = useAgent();
  const answer = useRef({ written: "", spoken: "" });

  function add(role: Role, content: string) {
    // Without a run: the voice agent answers, and CopilotKit's own agent reads along.
    if (content.trim() !== "") chat.addMessage({ id: crypto.randomUUID(), role, content: content.trim() });
  }

  const voice = useS2S({
    serverUrl,
    ...(token === undefined ? {} : { token }),
    onAsrFinal: (text) => add("user", text),
    onLlmToken: (text) => void (answer.current.written += text),
    onSpoken: (text) => void (answer.current.spoken += text),
    onResponseEnd: (interrupted) => {
      // Of an answer that was cut off the chat knows what was heard.
      const { written, spoken } = answer.current;
      answer.current = { written: "", spoken: "" };
      add("assistant", interrupted ? spoken : written);
    },
  });
  return <VoiceButton agent={voice} />;
}
