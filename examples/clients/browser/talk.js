// The microphone to the agent, the agent's voice to the loudspeaker, and both sides' words to a list.

import { Microphone, Speaker } from "./s2s/audio.js";
import { S2SClient } from "./s2s/client.js";

const button = document.getElementById("talk");
const words = document.getElementById("words");
const agent = decodeURIComponent(location.hash.slice(1)) || "http://127.0.0.1:8088";

function write(who, text) {
  const line = document.createElement("li");
  line.dataset.who = who;
  line.textContent = text;
  words.append(line);
}

button.addEventListener("click", async () => {
  button.disabled = true;
  const client = new S2SClient({ url: `${agent.replace(/^http/, "ws")}/ws/s2s` });
  const speaker = new Speaker(() => {});
  const microphone = new Microphone((pcm) => client.sendAudio(pcm));
  client.on("asr_final", ({ text }) => write("me", text));
  let saying = "";
  client.on("llm_token", ({ token }) => (saying += token));
  client.on("response_end", () => {
    write("agent", saying.trim());
    saying = "";
  });
  client.on("audio", (pcm) => speaker.play(pcm));
  client.on("audio_stream_stop", ({ interrupted }) => (interrupted ? speaker.clear() : speaker.end()));
  try {
    await speaker.start();
    await microphone.start();
    await client.open();
  } catch (error) {
    write("error", `The call could not begin: ${error.message}`);
    button.disabled = false;
  }
});
