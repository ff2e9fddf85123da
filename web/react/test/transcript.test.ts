import { expect, test } from "vitest";

import { answered, answerEnded, heard, newestAnswer, type Transcript } from "../src/transcript.js";

test("a caller who speaks into an answer has an entry of their own", () => {
  let transcript: Transcript = answered([], "One ", true);
  transcript = heard(transcript, "wait", true);
  transcript = answered(transcript, "two", false);
  transcript = answerEnded(transcript, true);
  transcript = heard(transcript, "wait a moment", false);
  expect(transcript.map(({ id, who, text }) => [id, who, text])).toEqual([
    [1, "agent", "One two"],
    [2, "user", "wait a moment"],
  ]);
});

test("an answer begins anew with its first token, even if the end of the last one was lost", () => {
  const transcript = answered(answered([], "One.", true), "Two.", true);
  expect(transcript.map(({ text, partial }) => [text, partial])).toEqual([
    ["One.", false],
    ["Two.", true],
  ]);
  expect(newestAnswer(transcript)).toBe("Two.");
});

test("a very long call keeps its end, and no two entries have the same id", () => {
  let transcript: Transcript = [];
  for (let turn = 0; turn < 1500; turn += 1) transcript = heard(transcript, `turn ${turn}`, false);
  expect(transcript).toHaveLength(1000);
  expect(transcript.at(-1)).toMatchObject({ text: "turn 1499", id: 1500 });
  expect(new Set(transcript.map(({ id }) => id)).size).toBe(1000);
});
