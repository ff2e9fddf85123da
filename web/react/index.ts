export type { CaptureOptions, CaptureState, CaptureStatus, InputDevice } from "./src/capture.js";
export type { CaptureError, CaptureErrorCode } from "./src/captureError.js";
export type { S2SError, S2SOptions, S2SStatus, SessionState } from "./src/session.js";
export type { Transcript, TranscriptEntry } from "./src/transcript.js";
export { useAudioCapture, type AudioCapture } from "./src/useAudioCapture.js";
export { useS2S, type S2S, type UseS2SOptions } from "./src/useS2S.js";
export { VoiceButton, type VoiceButtonLabels, type VoiceButtonLook, type VoiceButtonProps } from "./src/VoiceButton.js";
