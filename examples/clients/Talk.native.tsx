// React Native, with @livekit/react-native. Call registerGlobals() of that package in the app's
// entry. `page` is where `agent-worker web` listens.

import { AudioSession, LiveKitRoom, useVoiceAssistant } from "@livekit/react-native";
import { useEffect, useState } from "react";
import { Text } from "react-native";

interface Given {
  server_url: string;
  participant_token: string;
}

export function Talk({ page }: { page: string }) {
  const [given, setGiven] = useState<Given | null>(null);

  useEffect(() => {
    void AudioSession.startAudioSession();
    const ask = async () => {
      const answer = await fetch(`${page}/api/token`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: "{}",
      });
      setGiven((await answer.json()) as Given);
    };
    void ask();
    return () => void AudioSession.stopAudioSession();
  }, [page]);

  if (given === null) return <Text>Connecting</Text>;
  return (
    <LiveKitRoom serverUrl={given.server_url} token={given.participant_token} connect audio>
      <Words />
    </LiveKitRoom>
  );
}

function Words() {
  const { state, agentTranscriptions } = useVoiceAssistant();
  return (
    <>
      <Text>{state}</Text>
      {agentTranscriptions.map((line) => (
        <Text key={line.id}>{line.text}</Text>
      ))}
    </>
  );
}
