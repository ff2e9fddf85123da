// Puts the page's parts together: what is chosen, the call, the transcript, the waterfall. The same
// page serves a LiveKit room, and under /s2s/ the WebSocket.

import { loadConfig } from "./api.js";
import { joinAdvice, microphoneAdvice } from "./advice.js";
import { Badges, asOffered, readBadges } from "./badges.js";
import { Choices } from "./choices.js";
import { Devices } from "./devices.js";
import { KeptTranscript } from "./kept.js";
import { Latency } from "./latency.js";
import { LevelMeter } from "./level.js";
import { CallRecorder, fileName, save } from "./recorder.js";
import { Transcript, asText } from "./transcript.js";
import { TranscriptView } from "./transcript_view.js";
import { Visualizer } from "./visualizer.js";
import { Waterfall } from "./waterfall.js";

const $ = (id) => document.getElementById(id);

const STATES = {
  idle: "Ready when you are",
  over: "The call has ended",
  joining: "Connecting…",
  reconnecting: "Connection lost. Taking it up again…",
  waiting: "Waiting for the agent…",
  busy: "Waiting for a free agent…",
  initializing: "The agent is getting ready…",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
};

const CONNECTIONS = { joining: "Connecting", connected: "Connected", reconnecting: "Reconnecting", ended: "Not connected" };
const SETTLE_EVERY_MS = 1000;
const KEEP_EVERY_MS = 2000;
const REFRESH_EVERY_MS = 10000;

let CallOfThisPage = null;
let config = { agent_name: "", auth: null };
let call = null;
let transcript = new Transcript();
let latency = new Latency();
let recorder = null;
let recorded = null;
let agentState = "idle";
let connection = "ended";
let begunAt = 0;
let lastedMs = 0;
let typedCount = 0;
let callerTrack = null;
let agentTrack = null;

const kept = new KeptTranscript();
const choices = new Choices($("choices"));
const badges = new Badges({
  list: $("badges"), notice: $("toy"), text: $("toy-text"), advice: $("toy-advice"), command: $("toy-command"), copy: $("toy-copy"), close: $("toy-close"),
});
const view = new TranscriptView({ list: $("transcript"), empty: $("empty"), announce: $("announce"), latest: $("latest") });
const waterfall = new Waterfall({
  table: $("waterfall"), body: $("turns"), empty: $("latency-empty"), legend: $("legend"), p50: $("p50"), p95: $("p95"), brief: $("brief"),
});
const devices = new Devices({
  mic: $("mic"), speaker: $("speaker"), speakerField: $("speaker-field"), testMic: $("test-mic"), testSpeaker: $("test-speaker"),
  meter: $("test-meter"), bar: $("test-bar"), words: $("test-words"),
});
const callerLevel = new LevelMeter((level) => {
  $("meter-bar").style.setProperty("--level", level.toFixed(3));
  $("meter").setAttribute("aria-valuenow", String(Math.round(level * 100)));
});
const agentLevel = new LevelMeter();
const visualizer = new Visualizer($("visual"), { agent: agentLevel, caller: callerLevel });

// --- before the call ---------------------------------------------------------------------------

async function start() {
  try {
    [CallOfThisPage, config] = await Promise.all([loadCall(), loadConfig()]);
  } catch (error) {
    showBanner(joinAdvice(error), "Try again", start);
    return;
  }
  $("record-field").hidden = !CallRecorder.possible;
  showConfig();
  devices.list();
  view.show(transcript.restore(kept.load()));
  showKept();
  offerToContinue();
  document.body.dataset.ready = "true";
}

function showConfig() {
  document.title = $("title").textContent = config.title;
  $("key-field").hidden = config.auth !== "bearer";
  choices.show(config);
  badges.show(readBadges(config.engines));
}

/** The demo gets real models while its page is open: who waits before a call is shown them. */
async function refresh() {
  if (call || !config || document.hidden) return;
  const fresh = await loadConfig().catch(() => null);
  // a server that is away for a moment changes nothing
  if (!fresh || call || JSON.stringify(fresh) === JSON.stringify(config)) return;
  config = fresh;
  showConfig();
  const names = (readBadges(config.engines) ?? []).map(({ name }) => name);
  if (names.length) $("announce").textContent = `New calls have ${names.join(", ")}.`;
}

async function loadCall() {
  if (location.pathname.startsWith("/s2s")) return (await import("./socket_call.js")).SocketCall;
  // The client is one script for all, and no module: it is fetched where there is a room to join.
  await new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/vendor/livekit-client/livekit-client.umd.js";
    script.addEventListener("load", resolve);
    script.addEventListener("error", reject);
    document.head.append(script);
  });
  return (await import("./call.js")).Call;
}

/** For as long as the call that this tab had waits for it. */
function offerToContinue() {
  const waiting = call ? null : CallOfThisPage.ticket().waiting();
  const there = Boolean(waiting);
  $("resume").hidden = !there;
  $("join-label").textContent = there ? "Start a new call" : "Start talking";
  $("join").classList.toggle("primary", !there);
  if (!there) return;
  $("resume-left").textContent = `The agent waits ${Math.max(1, Math.ceil(waiting.forMs / 1000))} s more.`;
  setTimeout(offerToContinue, 1000);
}

function continueCall() {
  const waiting = CallOfThisPage.ticket().waiting();
  if (!waiting) return offerToContinue();
  return join(waiting.microphone, { chosen: waiting.choices, anew: false });
}

async function join(microphone, { chosen = choices.chosen, anew = true } = {}) {
  if (call) return;
  hideBanner();
  devices.stopTest();
  // what is said and written needs the room
  $("devices").open = false;
  if (anew) {
    CallOfThisPage.ticket().drop();
    forget();
  }
  latency = new Latency();
  waterfall.show(latency);
  call = new CallOfThisPage({
    agentName: config.agent_name,
    choices: chosen,
    key: $("key").value,
    deviceId: devices.microphoneId,
    speakerId: devices.speakerId,
  });
  if ($("record").checked) recorder = new CallRecorder();
  $("recording").hidden = !recorder;
  $("interrupt").hidden = !call.canInterrupt;
  showHow(microphone);
  $("mute").disabled = false;
  wire(call);
  const joining = call.join({ microphone });
  // The button that was pressed is gone: the focus goes to what takes its place.
  ($("start").contains(document.activeElement) || document.activeElement === document.body) && $(microphone ? "mute" : "leave").focus();
  try {
    await joining;
  } catch (error) {
    const advice = joinAdvice(error, call.serverUrl);
    end();
    showBanner(advice, "Try again", () => join(microphone, { chosen, anew: false }));
    return;
  }
  begunAt = performance.now();
  $("server-name").textContent = new URL(call.serverUrl).host;
  if (!call.wantsMicrophone) $("message").focus();
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
  on("busy", ({ text }) => {
    hideBanner();
    $("busy").textContent = text;
  });
  on("user", ({ id, text, final }) => show(transcript.user(id, text, final)));
  on("agent", ({ id, text, ahead }) => show(transcript.agent(id, text, { ahead })));
  on("spoken", ({ id, text }) => show(transcript.spoken(id, text)));
  on("agent-end", ({ id, interrupted }) => show(transcript.agentEnd(id, { interrupted })));
  on("speaker", ({ name, at }) => show(transcript.speaker(name, at)));
  on("engines", (told) => badges.show(asOffered(readBadges(told), readBadges(config.engines))));
  on("latency", (json) => {
    const turn = latency.add(json);
    if (!turn) return;
    waterfall.show(latency);
    if (turn.interrupted) show(transcript.interrupted());
  });
  on("sound", ({ blocked }) => {
    if (blocked) showBanner("Your browser holds the sound back until you ask for it.", "Play the sound", () => call?.unlockSound());
  });
  on("voice", ({ track, textOnly, deaf }) => {
    if (track) {
      agentTrack = track;
      agentLevel.watch(track);
      recorder?.take("agent", track);
      visualizer.show(agentState);
    }
    if (textOnly !== undefined) $("text-only").hidden = !textOnly;
    if (deaf !== undefined) $("not-heard").hidden = !deaf;
  });
  on("agent-missing", () =>
    showBanner("No agent has come. Check that the worker runs, with “agent-worker doctor”.", "Call again", callAgain));
  on("microphone", showMicrophone);
}

function show(entries) {
  view.show(entries);
  showKept();
}

function end() {
  const ended = call;
  const had = document.activeElement;
  call = null;
  connection = "ended";
  lastedMs = begunAt ? performance.now() - begunAt : 0;
  begunAt = 0;
  agentState = lastedMs ? "over" : "idle";
  callerTrack = agentTrack = null;
  callerLevel.stop();
  agentLevel.stop();
  show(transcript.settle({ all: true }));
  kept.save(transcript);
  endRecording();
  for (const id of ["text-only", "not-heard"]) $(id).hidden = true;
  showState();
  // that call's engines need not be those of the next
  badges.show(readBadges(config.engines));
  refresh();
  if ($("controls").contains(had)) $("join").focus();
  if (ended?.endedByAgent) {
    showBanner("The agent has ended the call.", "Call again", () => join(true));
  } else if (ended && !ended.left && lastedMs) {
    ended.leave();
    showBanner(ended.refusal || "The connection is gone, and could not be taken up again.", "Call again", () => join(true));
  }
}

async function endRecording() {
  if (!recorder) return;
  const ending = recorder;
  recorder = null;
  $("recording").hidden = true;
  recorded = await ending.stop();
  showKept();
}

async function callAgain() {
  const microphone = call?.wantsMicrophone ?? true;
  await call?.leave();
  await join(microphone);
}

function showState() {
  const inCall = connection !== "ended";
  document.body.dataset.phase = inCall ? "call" : "idle";
  document.body.dataset.connection = connection;
  $("connection-text").textContent = CONNECTIONS[connection];
  const shown = !inCall ? agentState : connection === "connected" ? agentState : connection;
  $("orb").dataset.state = shown;
  visualizer.show(inCall ? shown : "idle");
  const text = shown === "over" ? `${STATES.over} · ${duration(lastedMs)}` : (STATES[shown] ?? "Listening");
  if ($("state").textContent !== text) $("state").textContent = text;
  $("busy").hidden = shown !== "busy";
  $("tests").hidden = inCall;
  $("reason").hidden = inCall;
  $("record-field").hidden = inCall || !CallRecorder.possible;
  for (const id of ["message", "send"]) $(id).disabled = connection !== "connected";
}

function duration(ms) {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** Whether the caller talks or writes. */
function showHow(byVoice) {
  document.body.dataset.talk = byVoice ? "voice" : "text";
  $("by-voice").setAttribute("aria-pressed", String(byVoice));
  $("by-text").setAttribute("aria-pressed", String(!byVoice));
}

async function talkBy(voice) {
  if (!call || call.wantsMicrophone === voice) return;
  hideBanner();
  showHow(voice);
  await call.useMicrophone(voice);
  if (!voice) $("message").focus();
}

async function showMicrophone({ track, muted, error }) {
  if (error) {
    showBanner(microphoneAdvice(error), "Try again", () => talkBy(true));
    showHow(false);
    $("message").focus();
  }
  if (track !== callerTrack) {
    callerTrack = track;
    if (track) callerLevel.watch(track);
    else callerLevel.stop();
    recorder?.take("caller", track);
  }
  for (const id of ["mute", "talk", "ptt"]) $(id).disabled = !track;
  $("mute").setAttribute("aria-pressed", String(muted));
  $("mute-text").textContent = muted ? "Unmute" : "Mute";
  $("talk").setAttribute("aria-pressed", String(!muted));
  if (track) await devices.list(track.getSettings().deviceId);
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

function showKept() {
  $("keep").hidden = transcript.empty && !recorded;
  $("save-sound").hidden = !recorded;
  $("forget").hidden = Boolean(call);
}

function forget() {
  transcript = new Transcript();
  recorded = null;
  kept.forget();
  view.clear();
  showKept();
}

function pushToTalk(pressed) {
  if (call && $("ptt").checked && !$("talk").disabled && call.muted === pressed) call.setMuted(!pressed);
}

$("banner-close").addEventListener("click", hideBanner);
$("start").addEventListener("submit", (event) => {
  event.preventDefault();
  join(true);
});
$("continue").addEventListener("click", continueCall);
$("join-text").addEventListener("click", () => join(false));
$("leave").addEventListener("click", () => call?.leave());
$("interrupt").addEventListener("click", () => call?.interrupt());
$("mute").addEventListener("click", () => call?.setMuted(!call.muted));
$("by-voice").addEventListener("click", () => talkBy(true));
$("by-text").addEventListener("click", () => talkBy(false));
devices.addEventListener("microphone", ({ detail }) => {
  if (!call || !callerTrack) return;
  call.chooseMicrophone(detail).catch((error) => showMicrophone({ track: callerTrack, muted: call.muted, error }));
});
devices.addEventListener("speaker", ({ detail }) => {
  call?.chooseSpeaker(detail).catch(() => showBanner("This speaker can’t be used. Choose another one."));
});
devices.addEventListener("error", ({ detail }) => showBanner(microphoneAdvice(detail)));
$("devices").addEventListener("toggle", () => !$("devices").open && devices.stopTest());
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
    if (event.target.closest("input, select, summary, button:not(#talk), a")) return;
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
  show(transcript.typed(`typed-${typedCount}`, text));
});
$("save-text").addEventListener("click", () => save(new Blob([asText(transcript)], { type: "text/plain" }), fileName("transcript", "txt")));
$("save-sound").addEventListener("click", () => recorded && save(recorded, fileName("call", recorded.type.includes("mp4") ? "m4a" : "webm")));
$("forget").addEventListener("click", () => {
  CallOfThisPage.ticket().drop();
  forget();
  offerToContinue();
  $("join").focus();
});
window.addEventListener("pointerdown", () => {
  callerLevel.resume();
  agentLevel.resume();
});
window.addEventListener("pagehide", () => {
  if (call) kept.save(transcript);
  call?.goAway();
});
setInterval(() => show(transcript.settle()), SETTLE_EVERY_MS);
// Also where the page is not told that it goes: a phone may take a tab away at any moment.
setInterval(() => call && kept.save(transcript), KEEP_EVERY_MS);
setInterval(refresh, REFRESH_EVERY_MS);
window.addEventListener("focus", refresh);
document.addEventListener("visibilitychange", refresh);

showState();
start();
