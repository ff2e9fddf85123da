import { act } from "@testing-library/react";
import { vi } from "vitest";

import type { ServerMessage } from "../../s2s/client.js";
import script from "./conversation.json";

/** The server's messages as the gateway sends them; a test of the gateway holds them to it. */
export const CONVERSATION = script as ServerMessage[];

/** The script's n-th message of a type, with other values where they matter. */
export function message<T extends ServerMessage["type"]>(
  type: T,
  change: Partial<Extract<ServerMessage, { type: T }>> = {},
): ServerMessage {
  const found = CONVERSATION.find((candidate) => candidate.type === type);
  return { ...found, ...change } as ServerMessage;
}

/** A socket that the test drives from the server's side. */
export class FakeSocket {
  static opened: FakeSocket[] = [];

  static get newest(): FakeSocket {
    return FakeSocket.opened.at(-1)!;
  }

  sent: unknown[] = [];
  closedWith: number | null = null;
  readyState = 1;
  onopen = (): void => {};
  onmessage = (_event: { data: unknown }): void => {};
  onclose = (_event: { code: number; reason: string }): void => {};

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeSocket.opened.push(this);
    queueMicrotask(() => this.onopen());
  }

  static install(): void {
    FakeSocket.opened = [];
    vi.stubGlobal("WebSocket", FakeSocket);
  }

  send(data: unknown): void {
    this.sent.push(typeof data === "string" ? JSON.parse(data) : data);
  }

  sentOf(type: string): unknown[] {
    return this.sent.filter((sent) => (sent as { type?: string }).type === type);
  }

  close(code = 1005): void {
    if (this.closedWith !== null) return;
    this.closedWith = code;
    this.onclose({ code, reason: "" });
  }

  /** The server says this, and React draws it. */
  say(...messages: ServerMessage[]): Promise<void> {
    return act(async () => {
      for (const said of messages) this.onmessage({ data: JSON.stringify(said) });
    });
  }

  frame(seq: number): Promise<void> {
    return act(async () => {
      this.onmessage({ data: JSON.stringify(message("tts_audio", { seq })) });
      this.onmessage({ data: new ArrayBuffer(640) });
    });
  }

  /** The line breaks, or the server ends it. */
  lose(code = 1006): Promise<void> {
    return act(async () => this.onclose({ code, reason: "" }));
  }
}
