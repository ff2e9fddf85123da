// Puts the page's parts together: the form to join, the call, the transcript, the waterfall.

import { loadConfig } from "./api.js";
import { joinAdvice, microphoneAdvice } from "./advice.js";
import { Call } from "./call.js";
import { Choices } from "./choices.js";
import { Latency } from "./latency.js";
import { LevelMeter } from "./level.js";
import { Transcript } from "./transcript.js";
import { TranscriptView } from "./transcript_view.js";
import { Waterfall } from "./waterfall.js";

const $ = (id) => document.getElementById(id);

const STATES = {
  idle: "Ready when you are",
  joining: "Connecting…",
  reconnecting: "Connection lost. Taking it up again…",
  waiting: "Waiting for the agent…",
  initializing: "The agent is getting ready…",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
};

const CONNECTIONS = {
  joining: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  ended: "Not connected",
};

let config = { agent_name: "", auth: null };
let call = null;
let transcript = new Transcript();
let latency = new Latency();
let agentState = "idle";
let connection = "ended";
let typedCount = 0;

const choices = new Choices($("choices"));
const view = new TranscriptView({ list: $("transcript"), empty: $("empty"), announce: $("announce"), latest: $("latest") });
const waterfall = new Waterfall({
  table: $("waterfall"), body: $("turns"), empty: $("latency-empty"), legend: $("legend"), p50: $("p50"), p95: $("p95"),
});
const ownLevel = new LevelMeter((level) => {
  $("meter-bar").style.setProperty("--level", level.toFixed(3));
  $("meter").setAttribute("aria-valuenow", String(Math.round(level * 100)));
});
const agentLevel = new LevelMeter((level) => $("orb").style.setProperty("--level", level.toFixed(3)));

// --- before the call ---------------------------------------------------------------------------

async function start() {
  try {
    config = await loadConfig();
  } catch (error) {
    showBanner(joinAdvice(error), "Try again", start);
    return;
  }
  document.title = $("title").textContent = config.title;
  $("key-field").hidden = config.auth !== "bearer";
  choices.show(config);
  document.body.dataset.ready = "true";
}

async function join(microphone) {
  if (call) return;
  hideBanner();
  transcript = new Transcript();
  latency = new Latency();
  view.clear();
  waterfall.show(latency);
  call = new Call({
    agentName: config.agent_name,
    choices: choices.chosen,
    key: $("key").value,
    deviceId: localStorage.getItem("microphone") ?? "",
  });
  wire(call);
  try {
    await call.join({ microphone });
  } catch (error) {
    const advice = joinAdvice(error, call.serverUrl);
    end();
    showBanner(advice, "Try again", () => join(microphone));
    return;
  }
  $("server-name").textContent = new URL(call.serverUrl).host;
  if (!microphone) $("message").focus();
}

// --- during the call ---------------------------------------------------------------------------

function wire(current) {
  const on = (name, handler) =>
    current.addEventListener(name, ({ detail }) => {
      if (current === call) handler(detail);
    });
  on("connection", (state) => {
    connection = state;
    if (state === "ended") end();
    showState();
  });
  on("state", (state) => {
    agentState = state;
    showState();
  });
  on("user", ({ id, text, final }) => view.show(transcript.user(id, text, final)));
  on("agent", ({ id, text }) => view.show(transcript.agent(id, text)));
  on("agent-end", ({ id }) => view.show(transcript.agentEnd(id)));
  on("latency", (json) => {
    const turn = latency.add(json);
    if (!turn) return;
    waterfall.show(latency);
    if (turn.interrupted) view.show(transcript.interrupted());
  });
  on("sound", ({ blocked }) => {
    if (blocked) showBanner("Your browser holds the sound back until you ask for it.", "Play the sound", () => call?.unlockSound());
  });
  on("voice", ({ track, textOnly }) => {
    if (track) agentLevel.watch(track);
    if (textOnly !== undefined) $("text-only").hidden = !textOnly;
  });
  on("agent-missing", () =>
    showBanner("No agent has come. Check that the worker runs, with “agent-worker doctor”.", "Call again", callAgain));
  on("microphone", showMicrophone);
}

function end() {
  const ended = call;
  call = null;
  connection = "ended";
  agentState = "idle";
  ownLevel.stop();
  agentLevel.stop();
  showState();
  $("text-only").hidden = true;
  if (ended?.endedByAgent) {
    showBanner("The agent has ended the call.", "Call again", () => join(true));
  } else if (ended && !ended.left) {
    ended.leave();
    showBanner("The connection is gone, and could not be taken up again.", "Call again", () => join(true));
  }
}

async function callAgain() {
  const microphone = call?.wantsMicrophone ?? true;
  await leave();
  await join(microphone);
}

async function leave() {
  const leaving = call;
  if (!leaving) return;
  await leaving.leave();
}

function showState() {
  const inCall = connection !== "ended";
  document.body.dataset.phase = inCall ? "call" : "idle";
  document.body.dataset.connection = connection;
  $("connection-text").textContent = CONNECTIONS[connection];
  const shown = !inCall ? "idle" : connection === "connected" ? agentState : connection;
  $("orb").dataset.state = shown;
  const text = STATES[shown] ?? "Listening";
  if ($("state").textContent !== text) $("state").textContent = text;
  for (const id of ["message", "send"]) $(id).disabled = connection !== "connected";
}

let watched = null;

async function showMicrophone({ track, muted, error }) {
  if (error) {
    showBanner(microphoneAdvice(error), "Try again", () => call?.retryMicrophone());
    $("message").focus();
  }
  if (track !== watched) {
    watched = track;
    if (track) ownLevel.watch(track);
    else ownLevel.stop();
  }
  const on = Boolean(track);
  for (const id of ["mute", "talk", "ptt", "mic"]) $(id).disabled = !on;
  $("controls").dataset.microphone = on ? "on" : "off";
  $("mute").setAttribute("aria-pressed", String(muted));
  $("mute-text").textContent = muted ? "Unmute" : "Mute";
  $("talk").setAttribute("aria-pressed", String(!muted));
  const devices = on && call ? await call.microphones().catch(() => []) : [];
  const current = track?.getSettings().deviceId;
  $("mic").replaceChildren(
    ...devices.map((device, n) => new Option(device.label || `Microphone ${n + 1}`, device.deviceId, false, device.deviceId === current)),
  );
  $("mic-field").hidden = devices.length < 1;
}

// --- controls ----------------------------------------------------------------------------------

function showBanner(text, action, run) {
  $("banner-text").textContent = text;
  $("banner-action").hidden = !action;
  $("banner-action").textContent = action ?? "";
  $("banner-action").onclick = () => {
    hideBanner();
    run();
  };
  $("banner").hidden = false;
}

function hideBanner() {
  $("banner").hidden = true;
}

function pushToTalk(pressed) {
  if (call && $("ptt").checked && !$("talk").disabled && call.muted === pressed) call.setMuted(!pressed);
}

$("banner-close").addEventListener("click", hideBanner);
$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  join(true);
});
$("join-text").addEventListener("click", () => join(false));
$("leave").addEventListener("click", leave);
$("mute").addEventListener("click", () => call?.setMuted(!call.muted));
$("mic").addEventListener("change", () => {
  localStorage.setItem("microphone", $("mic").value);
  call?.chooseMicrophone($("mic").value).catch((error) => showMicrophone({ track: watched, muted: call.muted, error }));
});
$("ptt").addEventListener("change", () => {
  const on = $("ptt").checked;
  $("talk").hidden = !on;
  $("mute").hidden = on;
  call?.setMuted(on);
});
$("talk").addEventListener("pointerdown", (event) => {
  $("talk").setPointerCapture(event.pointerId);
  pushToTalk(true);
});
for (const name of ["pointerup", "pointercancel", "blur"]) $("talk").addEventListener(name, () => pushToTalk(false));
// The space bar talks wherever it does not type or press something else.
for (const [name, pressed] of [["keydown", true], ["keyup", false]]) {
  document.addEventListener(name, (event) => {
    if (event.code !== "Space" || event.repeat || !$("ptt").checked) return;
    if (event.target.closest("input, select, button:not(#talk), a")) return;
    event.preventDefault();
    pushToTalk(pressed);
  });
}
$("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("message").value.trim();
  if (!text || !call) return;
  try {
    await call.say(text);
  } catch {
    showBanner("The message was not sent. Try again when the call is connected.");
    return;
  }
  $("message").value = "";
  typedCount += 1;
  view.show(transcript.typed(`typed-${typedCount}`, text));
});
window.addEventListener("pointerdown", () => {
  ownLevel.resume();
  agentLevel.resume();
});
window.addEventListener("pagehide", () => call?.goAway());

showState();
start();
