// The microphone and the loudspeaker, at the protocol's 16 kHz.

export const SAMPLE_RATE = 16000;

const worklet = (name) => new URL(name, import.meta.url);

/** Captures the microphone; `onFrame` gets 20 ms of PCM16 at a time. */
export class Microphone {
  /**
   * @param {(pcm: ArrayBuffer, level: number) => void} onFrame
   * @param {{deviceId?: string}} options
   */
  constructor(onFrame, { deviceId } = {}) {
    this.onFrame = onFrame;
    this.deviceId = deviceId;
  }

  async start() {
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        channelCount: 1,
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
        ...(this.deviceId ? { deviceId: this.deviceId } : {}),
      },
    });
    try {
      this.context = new AudioContext({ sampleRate: SAMPLE_RATE });
      await this.context.audioWorklet.addModule(worklet("capture_worklet.js"));
      const capture = new AudioWorkletNode(this.context, "s2s-capture", { numberOfOutputs: 0 });
      capture.port.onmessage = ({ data }) => this.onFrame(data.pcm, data.level);
      this.context.createMediaStreamSource(this.stream).connect(capture);
      await this.context.resume();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}

/** Plays PCM16 as it arrives. */
export class Speaker {
  /** @param {(sounding: boolean) => void} onSounding */
  constructor(onSounding = () => {}) {
    this.onSounding = onSounding;
  }

  async start() {
    this.context = new AudioContext({ sampleRate: SAMPLE_RATE });
    await this.context.audioWorklet.addModule(worklet("playback_worklet.js"));
    this.node = new AudioWorkletNode(this.context, "s2s-playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => this.onSounding(data.sounding);
    this.node.connect(this.context.destination);
    await this.context.resume();
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
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}
