// What the page asks of the server that it came from.

export class RequestError extends Error {
  /** @param {number} status 0 when the server did not answer. */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new RequestError(0, "no answer");
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new RequestError(response.status, body.error ?? response.statusText);
  return body;
}

export function loadConfig() {
  return ask("/api/config", { headers: { Accept: "application/json" } });
}

/**
 * Asks for a token after LiveKit's TokenSource convention.
 * @param {{agentName: string, choices: Object<string, string>, key: string}} wish
 */
export function requestToken({ agentName, choices, key }) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const body = {};
  if (agentName) {
    const metadata = Object.keys(choices).length ? JSON.stringify(choices) : "";
    body.room_config = { agents: [{ agent_name: agentName, metadata }] };
  }
  return ask("/api/token", { method: "POST", headers, body: JSON.stringify(body) });
}
