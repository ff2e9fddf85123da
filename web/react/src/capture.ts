// One microphone for as long as it is wanted: asked for, listened to, given back.

import { Microphone } from "../../s2s/audio.js";
import { captureError, explain, type CaptureError } from "./captureError.js";
import { Store } from "./store.js";

export type CaptureStatus = "idle" | "asking" | "capturing" | "denied" | "failed";

export interface InputDevice {
  deviceId: string;
  /** Empty until the microphone was allowed once. */
  label: string;
}

export interface CaptureState {
  status: CaptureStatus;
  /** Set while `status` is denied or failed. */
  error: CaptureError | null;
  /** Loudness from 0 (-60 dB and below) to 1 (full scale). */
  level: number;
  muted: boolean;
  devices: readonly InputDevice[];
  /** The device that is heard, or was chosen; undefined for the browser's own choice. */
  deviceId: string | undefined;
}

export interface CaptureOptions {
  /** Gets 20 ms of PCM16, mono, 16 kHz at a time, unless told otherwise; nothing while muted. */
  onFrame?: (pcm: ArrayBuffer) => void;
  /** Another name for `onFrame`. */
  onAudioChunk?: (pcm: ArrayBuffer) => void;
  /** Of what is handed on, in Hertz; 16000 unless told, which is what the agent hears. */
  sampleRate?: number;
  /** Of each piece that is handed on, in milliseconds; 20 unless told. The agent takes up to 1000. */
  chunkInterval?: number;
  /** The device to begin with. */
  deviceId?: string;
  /** How often `level` may change, in milliseconds; 100 unless told. */
  levelIntervalMs?: number;
  /** Where capture_worklet.js is served, if not beside this package. */
  worklet?: string | URL;
}

const LEVEL_INTERVAL_MS = 100;
const FLOOR_DB = -60;

export class Capture {
  options: CaptureOptions;
  readonly store: Store<CaptureState>;
  #microphone: Microphone | null = null;
  #starting: Promise<boolean> | null = null;

  constructor(options: CaptureOptions) {
    this.options = options;
    const initial: CaptureState = {
      status: "idle",
      error: null,
      level: 0,
      muted: false,
      devices: [],
      deviceId: options.deviceId,
    };
    this.store = new Store(initial, options.levelIntervalMs ?? LEVEL_INTERVAL_MS);
  }

  readonly start = (): Promise<boolean> => {
    if ((navigator.mediaDevices as MediaDevices | undefined) === undefined) {
      this.store.set({ status: "failed", error: captureError("insecure") });
      return Promise.resolve(false);
    }
    this.#starting ??= this.#start();
    return this.#starting;
  };

  readonly stop = async (): Promise<void> => {
    const leaving = this.#microphone;
    if (leaving === null) return;
    this.#release();
    this.store.set({ status: "idle", error: null, level: 0 });
    await leaving.stop();
  };

  readonly setMuted = (muted: boolean): void => {
    this.store.set(muted ? { muted, level: 0 } : { muted });
    this.#silenceTrack();
  };

  readonly selectDevice = async (deviceId: string): Promise<void> => {
    const leaving = this.#microphone;
    this.#release();
    this.store.set({ deviceId });
    if (leaving === null) return;
    await Promise.all([leaving.stop(), this.start()]);
  };

  /** Keeps `devices` true until the function that it returns is called. */
  readonly watchDevices = (): (() => void) => {
    const media = navigator.mediaDevices as MediaDevices | undefined;
    if (media === undefined) return () => {};
    const look = (): void => void this.#listDevices();
    media.addEventListener("devicechange", look);
    look();
    return () => media.removeEventListener("devicechange", look);
  };

  async #start(): Promise<boolean> {
    const { worklet, sampleRate, chunkInterval } = this.options;
    const { deviceId } = this.store.state;
    const microphone: Microphone = new Microphone((pcm, level) => this.#hear(pcm, level), {
      ...(deviceId === undefined ? {} : { deviceId }),
      ...(worklet === undefined ? {} : { worklet }),
      ...(sampleRate === undefined ? {} : { sampleRate }),
      ...(chunkInterval === undefined ? {} : { frameMs: chunkInterval }),
      onEnded: () => void this.#fail(microphone, captureError("unplugged")),
    });
    this.#microphone = microphone;
    this.store.set({ status: "asking", error: null });
    try {
      await microphone.start();
    } catch (failure) {
      await this.#fail(microphone, explain(failure));
      return false;
    }
    // Stopped, or another device chosen, while the browser was asking.
    if (microphone !== this.#microphone) return false;
    this.#silenceTrack();
    const heard = microphone.track?.getSettings().deviceId;
    this.store.set({ status: "capturing", deviceId: heard ?? deviceId });
    await this.#listDevices();
    return microphone === this.#microphone;
  }

  #release(): void {
    this.#microphone = null;
    this.#starting = null;
  }

  async #fail(microphone: Microphone, error: CaptureError): Promise<void> {
    if (microphone !== this.#microphone) return;
    this.#release();
    this.store.set({ status: error.code === "denied" ? "denied" : "failed", error, level: 0 });
    await microphone.stop();
  }

  #hear(pcm: ArrayBuffer, level: number): void {
    if (this.store.state.status !== "capturing" || this.store.state.muted) return;
    this.store.setSoon({ level: loudness(level) });
    this.options.onFrame?.(pcm);
    this.options.onAudioChunk?.(pcm);
  }

  // The track too, so that the browser and the operating system show that nothing is heard.
  #silenceTrack(): void {
    const track = this.#microphone?.track;
    if (track) track.enabled = !this.store.state.muted;
  }

  async #listDevices(): Promise<void> {
    try {
      const all = await navigator.mediaDevices.enumerateDevices();
      const devices = all
        .filter((device) => device.kind === "audioinput" && device.deviceId !== "")
        .map(({ deviceId, label }) => ({ deviceId, label }));
      this.store.set({ devices });
    } catch {
      // A page that may not look has no list to choose from; the browser's own choice is left.
      this.store.set({ devices: [] });
    }
  }
}

// In steps of a hundredth: what nobody sees draws nothing.
function loudness(rms: number): number {
  const decibels = 20 * Math.log10(rms + 1e-6);
  return Math.round(Math.min(1, Math.max(0, 1 - decibels / FLOOR_DB)) * 100) / 100;
}
