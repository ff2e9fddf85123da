// What hears, thinks and speaks: a badge each, and a plain notice where the demo's toy model listens.

const STAGES = { hearing: "Hearing", thinking: "Thinking", voice: "Voice" };

/**
 * @typedef {{stage: string, name: string, toy: boolean, note: string, command: string}} Badge
 * @param {unknown} told a list, or the JSON of one
 * @returns {?Badge[]} null where it was none
 */
export function readBadges(told) {
  let list = told;
  if (typeof told === "string") {
    try {
      list = JSON.parse(told);
    } catch {
      return null;
    }
  }
  if (!Array.isArray(list)) return null;
  const text = (value) => (typeof value === "string" ? value : "");
  const read = list
    .filter((one) => STAGES[one?.stage] && text(one.name))
    .map((one) => ({ stage: one.stage, name: one.name, toy: one.toy === true, note: text(one.note), command: text(one.command) }));
  return read.length ? read : null;
}

/**
 * The engines of a call, with the words of the page's own server where it told of the same ones: it
 * knows what to type here, and whether better ones are on their way.
 *
 * @param {?Badge[]} told by the agent
 * @param {?Badge[]} offered by the page's server
 * @returns {?Badge[]}
 */
export function asOffered(told, offered) {
  const same = (one) => offered?.find(({ stage, name }) => stage === one.stage && name === one.name);
  return told && told.map((one) => same(one) ?? one);
}

export class Badges {
  constructor({ list, notice, text, advice, command, copy, close }) {
    Object.assign(this, { list, notice, text, advice, command, copy });
    this.dismissed = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard?.writeText(command.textContent).catch(() => {});
      copy.textContent = "Copied";
    });
    close.addEventListener("click", () => {
      this.dismissed = true;
      notice.hidden = true;
    });
  }

  /** @param {?Badge[]} badges */
  show(badges) {
    if (!badges) return;
    this.list.replaceChildren(...badges.map(draw));
    const toy = badges.find((badge) => badge.toy);
    this.notice.hidden = !toy || this.dismissed;
    if (!toy) return;
    this.text.textContent = toy.note;
    this.command.textContent = toy.command;
    // while the models are on their way there is nothing to do
    this.advice.hidden = this.copy.hidden = !toy.command;
  }
}

function draw({ stage, name, toy, note }) {
  const item = document.createElement("li");
  item.dataset.stage = stage;
  item.dataset.toy = String(toy);
  if (note) item.title = note;
  const what = document.createElement("span");
  what.className = "what";
  what.textContent = STAGES[stage];
  const which = document.createElement("span");
  which.className = "which";
  which.textContent = name;
  item.append(what, " ", which);
  return item;
}
