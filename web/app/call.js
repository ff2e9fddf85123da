// One call in a LiveKit room: the microphone, the words and the agent. Says what happens as events;
// socket_call.js says the same of a call over a WebSocket.

import { requestToken } from "./api.js";
import { Ticket } from "./ticket.js";

const { Room, RoomEvent, ConnectionState, DisconnectReason, ParticipantKind, Track } = globalThis.LivekitClient;

const AGENT_WAIT_MS = 20_000;
const HANG_UP_MS = 1000;
const AGENT_BACK_MS = 5000;
const AGENT_BACK_TRIES = 8;
const REJOIN_WAITS_MS = [500, 1000, 2000, 3000, 5000, 5000, 5000, 10_000, 10_000, 10_000, 10_000];

/**
 * Events, each with its `detail`: "connection" (joining, connected, reconnecting, ended), "state"
 * (the agent's, or "waiting", or "busy"), "user" {id, text, final}, "agent" {id, text, ahead},
 * "spoken" {id, text}, "agent-end" {id, interrupted}, "speaker" {name, at}, "latency" (JSON),
 * "engines" (JSON), "busy" {text}, "microphone" {track, muted, error}, "sound" {blocked},
 * "voice" {textOnly, deaf, track}, "agent-missing".
 */
export class Call extends EventTarget {
  /**
   * @param {{agentName: string, choices: Object<string, string>, key: string, deviceId: string,
   *   speakerId: string}} wish
   */
  constructor(wish) {
    super();
    this.wish = wish;
    this.serverUrl = "";
    this.room = null;
    this.left = false;
    /** Whether it was the agent that ended the call. */
    this.endedByAgent = false;
    this.ticket = new Ticket();
    this.wantsMicrophone = false;
    this.muted = false;
    this.agentTries = 0;
    this.busy = "";
  }

  /** The way back into the call of before, for a page that is loaded anew. */
  static ticket() {
    return new Ticket();
  }

  /** Whether the agent can be told to be quiet by a button. */
  get canInterrupt() {
    return false;
  }

  async join({ microphone }) {
    this.wantsMicrophone = microphone;
    this.#emit("connection", "joining");
    await this.#enter();
    this.#emit("connection", "connected");
  }

  /** Hangs up: the agent need not wait for this caller's return. */
  async leave() {
    this.left = true;
    this.agentTries = 0;
    clearTimeout(this.agentTimer);
    this.ticket.drop();
    const agent = this.room && agentIn(this.room);
    if (agent) {
      const request = { destinationIdentity: agent.identity, method: "end_call", payload: "", responseTimeout: HANG_UP_MS };
      // An agent of another make does not know the method.
      await this.room.localParticipant.performRpc(request).catch(() => {});
    }
    await this.room?.disconnect();
    this.#emit("connection", "ended");
  }

  /** The page goes, and may be back in a moment. */
  goAway() {
    if (this.left) return;
    this.left = true;
    this.ticket.left({ microphone: this.wantsMicrophone });
    this.room?.disconnect();
  }

  async say(text) {
    await this.room.localParticipant.sendText(text, { topic: "lk.chat" });
  }

  async setMuted(muted) {
    this.muted = muted;
    await this.#setMicrophone(!muted);
  }

  /** Talks from now on, or writes: the microphone is asked for, or let go of. */
  async useMicrophone(on) {
    this.wantsMicrophone = on;
    this.muted = false;
    // While the connection is made anew there is none: the next one is joined so.
    if (!this.room) return;
    if (on) {
      await this.#setMicrophone(true);
      return;
    }
    const { localParticipant } = this.room;
    const track = localParticipant.getTrackPublication(Track.Source.Microphone)?.track;
    if (track) await localParticipant.unpublishTrack(track, true);
    this.#emit("microphone", { track: null, muted: false });
  }

  async chooseMicrophone(deviceId) {
    this.wish.deviceId = deviceId;
    await this.room.switchActiveDevice("audioinput", deviceId);
    this.#emitMicrophone();
  }

  async chooseSpeaker(deviceId) {
    this.wish.speakerId = deviceId;
    await this.room.switchActiveDevice("audiooutput", deviceId || "default");
  }

  unlockSound() {
    return this.room.startAudio();
  }

  microphones() {
    return Room.getLocalDevices("audioinput", false);
  }

  async #enter() {
    const room = new Room({
      audioCaptureDefaults: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      // What is said while the call connects is kept, and sent to the agent when it is there.
      publishDefaults: { preConnectBuffer: true },
      ...(this.wish.speakerId ? { audioOutput: { deviceId: this.wish.speakerId } } : {}),
    });
    this.room = room;
    this.#listen(room);
    const microphone = this.wantsMicrophone ? this.#setMicrophone(!this.muted) : null;
    try {
      const kept = this.ticket.take(this.wish);
      // The room of before may be known to the server still, but have no agent any more.
      if (kept) this.agentTries ||= AGENT_BACK_TRIES;
      const grant = kept ?? (await requestToken(this.wish));
      this.serverUrl = grant.server_url;
      await room.connect(grant.server_url, grant.participant_token, { maxRetries: 0 });
      this.ticket.keep(this.wish, grant, { microphone: this.wantsMicrophone });
    } catch (error) {
      this.room = null;
      room.removeAllListeners();
      for (const publication of room.localParticipant.trackPublications.values()) publication.track?.stop();
      await room.disconnect();
      throw error;
    }
    await microphone;
    await room.startAudio().catch(() => {});
    this.#emit("sound", { blocked: !room.canPlaybackAudio });
    this.#watchForAgent(room);
  }

  // The client takes up a broken connection by itself. When it gives up, or the server has lost
  // the room, the call goes on in a new one.
  async #rejoin() {
    this.#emit("connection", "reconnecting");
    this.ticket.drop();
    const old = this.room;
    this.room = null;
    old?.removeAllListeners();
    await old?.disconnect();
    // The agent of the old room is gone: the new one may have to wait for the worker to come back.
    this.agentTries ||= AGENT_BACK_TRIES;
    for (const wait of REJOIN_WAITS_MS) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (this.left) return;
      try {
        await this.#enter();
        if (this.left) await this.room.disconnect();
        else this.#emit("connection", "connected");
        return;
      } catch (error) {
        this.lastError = error;
      }
    }
    this.#emit("connection", "ended");
  }

  #listen(room) {
    room
      .on(RoomEvent.ConnectionStateChanged, (state) => {
        if (state === ConnectionState.Reconnecting || state === ConnectionState.SignalReconnecting) {
          this.#emit("connection", "reconnecting");
        }
      })
      .on(RoomEvent.Reconnected, () => {
        this.#emit("connection", "connected");
        this.agentTries = AGENT_BACK_TRIES;
        this.#watchForAgent(room);
      })
      .on(RoomEvent.Disconnected, (reason) => {
        if (this.left || room !== this.room) return;
        if (reason === DisconnectReason.CLIENT_INITIATED) return;
        if (reason === DisconnectReason.ROOM_DELETED) {
          this.#dismissed();
          return;
        }
        this.#rejoin();
      })
      .on(RoomEvent.ParticipantConnected, () => this.#watchForAgent(room))
      .on(RoomEvent.ParticipantDisconnected, () => this.#watchForAgent(room))
      .on(RoomEvent.ParticipantAttributesChanged, (_, participant) => {
        if (participant.kind === ParticipantKind.AGENT) this.#emitAgent(participant);
      })
      .on(RoomEvent.TrackSubscribed, (track) => {
        if (track.kind !== Track.Kind.Audio) return;
        document.body.append(track.attach());
        this.#emit("voice", { track: track.mediaStreamTrack });
      })
      .on(RoomEvent.TrackUnsubscribed, (track) => track.detach().forEach((element) => element.remove()))
      .on(RoomEvent.DataReceived, (data, _, __, topic) => topic === "agent.busy" && this.#wait(data))
      .on(RoomEvent.AudioPlaybackStatusChanged, () => this.#emit("sound", { blocked: !room.canPlaybackAudio }))
      .on(RoomEvent.LocalTrackPublished, () => this.#emitMicrophone())
      .on(RoomEvent.MediaDevicesChanged, () => this.#emitMicrophone());
    room.registerTextStreamHandler("lk.transcription", (reader, from) => this.#readWords(room, reader, from));
    room.registerTextStreamHandler("agent.latency", async (reader) => this.#emit("latency", await reader.readAll().catch(() => "")));
    room.registerTextStreamHandler("agent.speaker", async (reader) => {
      const { name, at } = read(await reader.readAll().catch(() => ""));
      if (typeof name === "string" && Number.isInteger(at)) this.#emit("speaker", { name, at });
    });
  }

  #dismissed() {
    this.left = this.endedByAgent = true;
    this.ticket.drop();
    clearTimeout(this.agentTimer);
    this.#emit("connection", "ended");
  }

  async #readWords(room, reader, from) {
    const attributes = reader.info.attributes ?? {};
    const id = attributes["lk.segment_id"] ?? reader.info.id;
    if (from.identity === room.localParticipant.identity) {
      const text = await reader.readAll().catch(() => "");
      if (text) this.#emit("user", { id, text, final: attributes["lk.transcription_final"] === "true" });
      return;
    }
    try {
      for await (const text of reader) this.#emit("agent", { id, text });
    } catch {
      // The connection ended within the utterance: what came of it stays.
    }
    this.#emit("agent-end", { id });
  }

  #watchForAgent(room) {
    clearTimeout(this.agentTimer);
    const agent = agentIn(room);
    if (agent) {
      this.agentTries = 0;
      this.busy = "";
      this.#emitAgent(agent);
      return;
    }
    this.#emit("state", this.busy ? "busy" : "waiting");
    // Whoever was told to wait is served as soon as an agent is free: in this room, so they stay.
    if (this.busy) return;
    // After a break the server may know the room, but have no agent for it any more.
    if (this.agentTries > 1) {
      this.agentTries -= 1;
      this.agentTimer = setTimeout(() => this.#rejoin(), AGENT_BACK_MS);
    } else {
      this.agentTimer = setTimeout(() => this.#emit("agent-missing"), AGENT_WAIT_MS);
    }
  }

  #emitAgent(agent) {
    this.#emit("state", agent.attributes["lk.agent.state"] ?? "initializing");
    const { "agent.voice": voice, "agent.hearing": hearing, "agent.engines": engines } = agent.attributes;
    this.#emit("voice", { textOnly: voice === "text-only", deaf: hearing === "lost" });
    if (engines) this.#emit("engines", engines);
  }

  #wait(data) {
    if (agentIn(this.room)) return;
    const { text } = read(new TextDecoder().decode(data));
    clearTimeout(this.agentTimer);
    this.busy = typeof text === "string" && text ? text : "All agents are busy. Stay here: one will come as soon as it is free.";
    this.#emit("busy", { text: this.busy });
    this.#emit("state", "busy");
  }

  async #setMicrophone(on) {
    const { room } = this;
    try {
      if (!navigator.mediaDevices) throw Object.assign(new Error("no microphone here"), { name: "InsecureContext" });
      const { deviceId } = this.wish;
      await room.localParticipant.setMicrophoneEnabled(on, deviceId ? { deviceId } : undefined);
      this.#emitMicrophone();
    } catch (error) {
      if (room !== this.room) return;
      this.wantsMicrophone = false;
      this.#emit("microphone", { track: null, muted: true, error });
    }
  }

  #emitMicrophone() {
    const publication = this.room?.localParticipant.getTrackPublication(Track.Source.Microphone);
    this.#emit("microphone", { track: publication?.track?.mediaStreamTrack ?? null, muted: this.muted });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function read(json) {
  try {
    return JSON.parse(json) ?? {};
  } catch {
    return {};
  }
}

function agentIn(room) {
  return [...room.remoteParticipants.values()].find((one) => one.kind === ParticipantKind.AGENT);
}
