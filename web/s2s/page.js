// The smallest page for /ws/s2s: the client, the microphone, the loudspeaker and the words.

import { loudness } from "../app/level.js";
import { Microphone, Speaker } from "./audio.js";
import { S2SClient } from "./client.js";

const $ = (id) => document.getElementById(id);
const STATES = { connecting: "Connecting", open: "Connected", reconnecting: "Reconnecting", closed: "Not connected" };

let client = null;
let microphone = null;
let speaker = null;
let line = { user: null, agent: null };

async function begin() {
  $("error").hidden = true;
  $("start").disabled = true;
  const token = $("key").value || undefined;
  client = new S2SClient({ url: `${location.origin.replace(/^http/, "ws")}/ws/s2s`, token });
  speaker = new Speaker((sounding) => (document.body.dataset.sounding = String(sounding)));
  microphone = new Microphone((pcm) => {
    showLevel(pcm);
    client?.sendAudio(pcm);
  });
  client.addEventListener("state", ({ detail }) => {
    if (detail === "closed") stop();
    else showState(detail);
    if (detail !== "reconnecting") return;
    speaker?.clear();
    line = { user: null, agent: null };
  });
  client.addEventListener("asr_partial", ({ detail }) => write("user", detail.text, true));
  client.addEventListener("asr_final", ({ detail }) => {
    write("user", detail.text, false);
    line.user = null;
  });
  client.addEventListener("llm_token", ({ detail }) => write("agent", (line.agent?.lastChild.textContent ?? "") + detail.token));
  client.addEventListener("audio", ({ detail }) => speaker?.play(detail));
  client.addEventListener("audio_stream_stop", ({ detail }) => (detail.interrupted ? speaker?.clear() : speaker?.end()));
  client.addEventListener("response_end", () => (line.agent = null));
  client.addEventListener("error", ({ detail }) => !detail.recoverable && showError(detail.message));
  try {
    await speaker.start();
    await microphone.start();
  } catch (error) {
    showError("The microphone could not be started. Allow it beside the address, and start again.");
    await stop();
    return;
  }
  try {
    await client.open();
  } catch (error) {
    showError(`The agent could not be reached: ${error.message}.`);
    await stop();
  }
}

async function stop() {
  const [leaving, ...devices] = [client, microphone, speaker];
  client = microphone = speaker = null;
  leaving?.close();
  await Promise.all(devices.map((device) => device?.stop()));
  showState("closed");
}

function showState(state) {
  document.body.dataset.state = state;
  $("state").textContent = STATES[state];
  $("start").disabled = state !== "closed";
  $("interrupt").disabled = state !== "open";
  $("stop").disabled = state === "closed";
}

function write(who, text, unsure = false) {
  if (!line[who]) {
    const item = document.createElement("li");
    item.dataset.who = who;
    const name = document.createElement("span");
    name.className = "who";
    name.textContent = who === "user" ? "You" : "Agent";
    item.append(name, document.createElement("p"));
    $("transcript").append(item);
    line[who] = item;
  }
  const words = line[who].lastChild;
  words.textContent = text;
  words.classList.toggle("unsure", unsure);
  $("transcript").scrollTop = $("transcript").scrollHeight;
}

function showLevel(pcm) {
  const level = loudness(Float32Array.from(new Int16Array(pcm), (sample) => sample / 32768));
  $("meter-bar").style.setProperty("--level", level.toFixed(3));
  $("meter").setAttribute("aria-valuenow", String(Math.round(level * 100)));
}

function showError(text) {
  $("error-text").textContent = text;
  $("error").hidden = false;
}

$("start").addEventListener("click", begin);
$("stop").addEventListener("click", stop);
$("interrupt").addEventListener("click", () => {
  client?.interrupt();
  speaker?.clear();
});

const config = await fetch("/api/config").then((response) => response.json());
$("key-field").hidden = config.auth !== "bearer";
document.body.dataset.ready = "true";
