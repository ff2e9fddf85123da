// The times of the turns so far. Decides only; waterfall.js draws them.

/** Stages in their order, each ending at its time after the end of the caller's words. */
export const STAGES = [
  ["final", "words known"],
  ["committed", "turn taken"],
  ["first_token", "first token"],
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
   * @returns {?{interrupted: boolean}} the turn, or null where it was no record
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

  /** @param {number} part 0 to 1 */
  percentile(part) {
    const totals = this.turns.map((turn) => turn.total).sort((a, b) => a - b);
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
  const stages = [];
  let from = 0;
  for (const [name, label] of STAGES) {
    const at = record.stages_ms?.[name];
    if (typeof at !== "number" || !Number.isFinite(at)) continue;
    // A speculative answer can be ahead of the end of the words: that stage cost nothing.
    const to = Math.max(from, at);
    stages.push({ name, label, from, to });
    from = to;
  }
  return { turn: record.turn, stages, total, interrupted: Number.isFinite(record.interrupted_at) };
}
