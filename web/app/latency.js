// The times of the turns so far. Decides only; waterfall.js draws them.

/**
 * Stages in the order of an answer that is not begun ahead of time, for the legend. Each ends at
 * its time after the end of the caller's words.
 */
export const STAGES = [
  ["preflight", "words guessed"],
  ["final", "words known"],
  ["committed", "turn taken"],
  ["first_token", "first token"],
  ["first_speakable", "first word"],
  ["first_phrase", "first phrase"],
  ["first_audio", "voice made"],
  ["first_audio_out", "voice heard"],
];

export class Latency {
  constructor(keep = 200) {
    this.keep = keep;
    this.turns = [];
  }

  /**
   * @param {string} json one record, as the agent sends it
   * @returns {?{typed: boolean, interrupted: boolean, heardS: ?number}} the turn, with the seconds of its answer
   *   that were heard where it was interrupted; null where it was no record
   */
  add(json) {
    const turn = read(json);
    if (!turn) return null;
    const known = this.turns.findIndex((other) => other.turn === turn.turn);
    if (known >= 0) this.turns[known] = turn;
    else this.turns.push(turn);
    if (this.turns.length > this.keep) this.turns.shift();
    return turn;
  }

  /**
   * Of the turns that were spoken, where there are any: a typed one has no end of speech to wait for.
   * @param {number} part 0 to 1
   */
  percentile(part) {
    const spoken = this.turns.filter((turn) => !turn.typed);
    const totals = (spoken.length ? spoken : this.turns).map((turn) => turn.total).sort((a, b) => a - b);
    if (!totals.length) return null;
    return totals[Math.max(0, Math.ceil(part * totals.length) - 1)];
  }
}

function read(json) {
  let record;
  try {
    record = JSON.parse(json);
  } catch {
    return null;
  }
  const total = record?.end_to_end_ms;
  if (typeof total !== "number" || !Number.isFinite(total)) return null;
  const passed = STAGES.map(([name, label]) => ({ name, label, at: record.stages_ms?.[name] }))
    .filter(({ at }) => typeof at === "number" && Number.isFinite(at))
    // In the order of time: an answer begun ahead has its first token before the turn is taken.
    .sort((a, b) => a.at - b.at);
  const stages = [];
  let from = 0;
  for (const { name, label, at } of passed) {
    const to = Math.max(from, at);
    stages.push({ name, label, from, to });
    from = to;
  }
  const seconds = record.heard_until?.seconds;
  const heardS = typeof seconds === "number" && Number.isFinite(seconds) ? seconds : null;
  return { turn: record.turn, stages, total, interrupted: Number.isFinite(record.interrupted_at), heardS, typed: record.typed === true };
}
