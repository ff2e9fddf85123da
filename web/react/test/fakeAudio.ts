import { act } from "@testing-library/react";
import { vi } from "vitest";

/** A microphone's track that remembers what was done to it. */
export class FakeTrack extends EventTarget {
  enabled = true;
  stopped = false;

  constructor(readonly deviceId: string) {
    super();
  }

  getSettings(): MediaTrackSettings {
    return { deviceId: this.deviceId };
  }

  stop(): void {
    this.stopped = true;
  }
}

export class FakeContext {
  static made: FakeContext[] = [];
  static startsAs: AudioContextState = "running";
  static refusesWorklets = false;

  state = FakeContext.startsAs;
  destination = {};
  modules: string[] = [];
  audioWorklet = {
    addModule: async (url: string | URL): Promise<void> => {
      if (FakeContext.refusesWorklets) throw new Error("no worklets here");
      this.modules.push(String(url));
    },
  };

  constructor() {
    FakeContext.made.push(this);
  }

  createMediaStreamSource(): { connect: () => void } {
    return { connect: () => {} };
  }

  async resume(): Promise<void> {}

  async close(): Promise<void> {
    this.state = "closed";
  }
}

export class FakeNode {
  static made: FakeNode[] = [];

  posted: unknown[] = [];
  port = {
    postMessage: (sent: unknown): void => void this.posted.push(sent),
    onmessage: (_event: { data: unknown }): void => {},
  };

  constructor(
    readonly context: FakeContext,
    readonly name: string,
    readonly options: object = {},
  ) {
    FakeNode.made.push(this);
  }

  static named(name: string): FakeNode {
    return FakeNode.made.findLast((node) => node.name === name)!;
  }

  connect(): void {}

  /** The microphone hears 20 ms. */
  hear(level: number): Promise<void> {
    return act(async () => this.port.onmessage({ data: { pcm: new ArrayBuffer(640), level } }));
  }
}

/** `navigator.mediaDevices`: a person who allows the microphone, until told otherwise. */
export class FakeDevices extends EventTarget {
  tracks: FakeTrack[] = [];
  asked: unknown[] = [];
  list = ["built-in", "headset"];
  answer: () => Promise<void> = async () => {};

  async getUserMedia({ audio }: { audio: { deviceId?: string } }): Promise<unknown> {
    this.asked.push(audio);
    await this.answer();
    const track = new FakeTrack(audio.deviceId ?? "built-in");
    this.tracks.push(track);
    return { getTracks: () => [track], getAudioTracks: () => [track] };
  }

  async enumerateDevices(): Promise<unknown[]> {
    const inputs = this.list.map((deviceId) => ({ kind: "audioinput", deviceId, label: `The ${deviceId}` }));
    return [...inputs, { kind: "audiooutput", deviceId: "speaker", label: "The speaker" }];
  }

  /** The person's next answer is this failure. */
  refuse(name: string): void {
    this.answer = () => Promise.reject(new DOMException("", name));
  }

  /** The person thinks about it until the function that is returned is called. */
  hesitate(): () => Promise<void> {
    let decide = (): void => {};
    const decided = new Promise<void>((resolve) => (decide = resolve));
    this.answer = () => decided;
    return () => act(async () => decide());
  }
}

/** What a page has of sound, without any. */
export function installAudio(): FakeDevices {
  FakeContext.made = [];
  FakeContext.startsAs = "running";
  FakeContext.refusesWorklets = false;
  FakeNode.made = [];
  vi.stubGlobal("AudioContext", FakeContext);
  vi.stubGlobal("AudioWorkletNode", FakeNode);
  const devices = new FakeDevices();
  Object.defineProperty(navigator, "mediaDevices", { value: devices, configurable: true });
  return devices;
}
