// Why there is no microphone, in the words of someone who wants to go on: what happened, what to do.

export type CaptureErrorCode = "denied" | "not_found" | "in_use" | "insecure" | "unsupported" | "unplugged" | "failed";

export interface CaptureError {
  code: CaptureErrorCode;
  /** A sentence to show, that says what to do. */
  message: string;
}

const ADVICE: Record<CaptureErrorCode, string> = {
  denied: "The microphone is blocked. Allow it beside the address, then start again.",
  not_found: "No microphone was found. Plug one in, then start again.",
  in_use: "Another program holds the microphone. Close it, then start again.",
  insecure: "Browsers give the microphone only to pages from localhost or over https. Open this page so.",
  unsupported: "This browser cannot capture at 16 kHz. Use a current Chromium, Edge or Safari.",
  unplugged: "The microphone went away. Plug it in or choose another one, then start again.",
  failed: "The microphone could not be started. Choose another one, then start again.",
};

const CODES: Record<string, CaptureErrorCode> = {
  NotAllowedError: "denied",
  NotFoundError: "not_found",
  NotReadableError: "in_use",
  NotSupportedError: "unsupported",
};

export function captureError(code: CaptureErrorCode): CaptureError {
  return { code, message: ADVICE[code] };
}

/** What a failure of `getUserMedia` or of an `AudioContext` means. */
export function explain(failure: unknown): CaptureError {
  return captureError(CODES[(failure as Error | undefined)?.name ?? ""] ?? "failed");
}
