// Errors in the words of someone who wants to go on: what happened, and what to do.

import { RequestError } from "./api.js";

export function microphoneAdvice(error) {
  switch (error?.name) {
    case "NotAllowedError":
      return "The microphone is blocked. Allow it beside the address, then press “Try again”. Until then you can type.";
    case "NotFoundError":
      return "No microphone was found. Plug one in and press “Try again”. Until then you can type.";
    case "NotReadableError":
      return "Another program holds the microphone. Close it and press “Try again”. Until then you can type.";
    case "InsecureContext":
      return "Browsers give the microphone only to pages from localhost or over https. Open this page so. Until then you can type.";
    default:
      return "The microphone could not be started. Choose another one and press “Try again”. Until then you can type.";
  }
}

export function joinAdvice(error, serverUrl) {
  if (error instanceof RequestError) {
    switch (error.status) {
      case 0:
        return "This page’s server does not answer. Start it with “agent-worker demo” and try again.";
      case 401:
        return "The access key is missing or wrong. Enter it and try again.";
      case 429:
        return "That was a lot of calls in a short time. Wait half a minute and try again.";
      default:
        return `The server refused: ${error.message}.`;
    }
  }
  switch (error?.code) {
    case "busy":
      return "All agents are busy. Try again in a while.";
    case "unknown_session":
      return "That call is over. Start a new one.";
    case "lost":
      return "The connection was refused. Check the access key, if there is one, and that the server runs.";
    case "unsupported_lang":
      return `The server refused: ${error.message}.`;
  }
  if (error?.reasonName === "NotAllowed") {
    return "The LiveKit server does not accept this page’s token: both need the same key and secret. Run “agent-worker doctor”.";
  }
  return `The LiveKit server at ${serverUrl || "its address"} can’t be reached. Check that it runs, with “agent-worker doctor”, and try again.`;
}
