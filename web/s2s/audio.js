// The microphone and the loudspeaker, at the protocol's 16 kHz in and 24 kHz out.

/** Hertz that the agent hears. */
export const SAMPLE_RATE = 16000;

/** Hertz of the agent's voice. */
export const VOICE_RATE = 24000;

/** Captures the microphone; `onFrame` gets 20 ms of PCM16 at a time, unless told otherwise. */
export class Microphone {
  /** @type {MediaStream | null} */
  stream = null;
  /** @type {AudioContext | null} */
  context = null;
  stopped = false;

  /**
   * @param {(pcm: ArrayBuffer, level: number) => void} onFrame `level` is the root mean square, 0 to 1
   * @param {{deviceId?: string, worklet?: string | URL, sampleRate?: number, frameMs?: number, onEnded?: () => void}} options
   *   `worklet` is where capture_worklet.js is served, `onEnded` is called when the device goes away
   */
  constructor(onFrame, { deviceId, worklet, sampleRate = SAMPLE_RATE, frameMs = 20, onEnded = () => {} } = {}) {
    this.onFrame = onFrame;
    this.deviceId = deviceId;
    this.sampleRate = sampleRate;
    this.frameMs = frameMs;
    // Written out, for bundlers look for `new URL("…", import.meta.url)` to find what else to carry.
    this.worklet = worklet ?? new URL("./capture_worklet.js", import.meta.url);
    this.onEnded = onEnded;
  }

  /** The device that is heard; null before it is. */
  get track() {
    return this.stream?.getAudioTracks()[0] ?? null;
  }

  /** Asks for the microphone. Stopped meanwhile, it lets go of what it was given. */
  async start() {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        channelCount: 1,
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
        ...(this.deviceId ? { deviceId: this.deviceId } : {}),
      },
    });
    this.stream = stream;
    if (this.stopped) {
      await this.stop();
      return;
    }
    try {
      const { context, source } = await this.listen(stream);
      await context.audioWorklet.addModule(this.worklet);
      if (this.stopped) return;
      const capture = new AudioWorkletNode(context, "s2s-capture", {
        numberOfOutputs: 0,
        processorOptions: { rate: this.sampleRate, frame: Math.round((this.sampleRate * this.frameMs) / 1000) },
      });
      capture.port.onmessage = ({ data }) => {
        if (!this.stopped) this.onFrame(data.pcm, data.level);
      };
      source.connect(capture);
      this.track?.addEventListener("ended", () => {
        if (!this.stopped) this.onEnded();
      });
      await context.resume();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /**
   * A context at the rate asked for. Firefox refuses that to a microphone of another rate (its bug
   * 1674892): it gets a context of its own rate, from which the worklet comes to the one asked for.
   * @param {MediaStream} stream
   */
  async listen(stream) {
    this.context = new AudioContext({ sampleRate: this.sampleRate });
    try {
      return { context: this.context, source: this.context.createMediaStreamSource(stream) };
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotSupportedError") throw error;
    }
    await this.context.close();
    this.context = new AudioContext();
    return { context: this.context, source: this.context.createMediaStreamSource(stream) };
  }

  async stop() {
    this.stopped = true;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}

/** Plays PCM16 as it arrives. */
export class Speaker {
  /** @type {AudioContext | null} */
  context = null;
  /** @type {AudioWorkletNode | null} */
  node = null;
  /** @type {MediaStreamAudioDestinationNode | null} */
  copy = null;
  stopped = false;

  /**
   * @param {(sounding: boolean) => void} onSounding
   * @param {{worklet?: string | URL}} options where playback_worklet.js is served
   */
  constructor(onSounding = () => {}, { worklet } = {}) {
    this.onSounding = onSounding;
    this.worklet = worklet ?? new URL("./playback_worklet.js", import.meta.url);
  }

  /** Whether the browser keeps the page silent, for nobody has touched it yet. */
  get blocked() {
    return this.context?.state === "suspended";
  }

  /** What is played, for those who draw or record it. */
  get track() {
    if (!this.context || !this.node) return null;
    if (!this.copy) {
      this.copy = this.context.createMediaStreamDestination();
      this.node.connect(this.copy);
    }
    return this.copy.stream.getAudioTracks()[0] ?? null;
  }

  async start() {
    const context = new AudioContext({ sampleRate: VOICE_RATE });
    this.context = context;
    await context.audioWorklet.addModule(this.worklet);
    if (this.stopped) return;
    const node = new AudioWorkletNode(context, "s2s-playback", { numberOfInputs: 0, outputChannelCount: [1] });
    node.port.onmessage = ({ data }) => this.onSounding(data.sounding);
    node.connect(context.destination);
    this.node = node;
    // Not awaited: it stays open until the page is touched. Closed before that, it fails; no matter.
    context.resume().catch(() => {});
  }

  /** @param {ArrayBuffer} pcm */
  play(pcm) {
    const samples = new Int16Array(pcm);
    const floats = Float32Array.from(samples, (sample) => sample / 32768);
    this.node?.port.postMessage(floats, [floats.buffer]);
  }

  /** What was sent is complete. */
  end() {
    this.node?.port.postMessage("end");
  }

  /** Falls silent at once. */
  clear() {
    this.node?.port.postMessage("clear");
  }

  async stop() {
    this.stopped = true;
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}
