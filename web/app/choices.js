// What the caller may choose before the call: cards for what one reads about, lists for the rest.

/** Kind, list in the page's JSON, heading, and whether its entries are cards. */
const KINDS = [
  ["flow", "flows", "What to talk about", true],
  ["character", "characters", "Who answers", true],
  ["economy", "economy", "How much is said", true],
  ["voice", "voices", "Voice", false],
  ["language", "languages", "Language", false],
];

const CHARACTERS_FLOW = "persona";
const RULES_FLOW = "offline";

/**
 * The entries of each list that go with the rest of what is chosen. A list that leaves no choice
 * is empty.
 * @param {Object<string, {id: string, language: string}[]>} config
 * @param {Object<string, string | null>} chosen by kind; what is not in a list counts as its first
 */
export function fitting(config, chosen) {
  const flow = taken(config.flows, chosen.flow);
  const language = taken(config.languages, chosen.language).split("-")[0];
  const anyVoice = !language || language === "auto";
  const lists = {
    flow: config.flows,
    character: (flow || CHARACTERS_FLOW) === CHARACTERS_FLOW ? config.characters : [],
    economy: flow === RULES_FLOW ? [] : (config.economy ?? []),
    voice: config.voices.filter((voice) => anyVoice || !voice.language || voice.language === language),
    language: config.languages,
  };
  return Object.fromEntries(Object.entries(lists).map(([kind, list]) => [kind, list.length > 1 ? list : []]));
}

function taken(list, id) {
  return (list.find((entry) => entry.id === id) ?? list[0])?.id ?? "";
}

/** The lists on the page. What was chosen is kept for the next visit. */
export class Choices {
  /** @param {HTMLElement} box */
  constructor(box) {
    this.box = box;
    this.fields = new Map();
  }

  show(config) {
    this.config = config;
    const several = KINDS.filter(([, list]) => (config[list] ?? []).length > 1);
    const made = several.map(([kind, , label, cards]) => [kind, new (cards ? Cards : List)(kind, label, () => this.#chose(kind))]);
    this.fields = new Map(made);
    this.#fill();
    this.box.replaceChildren(...made.map(([, { field }]) => field));
  }

  /** What is chosen in the lists that are shown, by kind. */
  get chosen() {
    const shown = [...this.fields].filter(([, { field }]) => !field.hidden);
    return Object.fromEntries(shown.map(([kind, one]) => [kind, one.value]));
  }

  #chose(kind) {
    localStorage.setItem(`choice.${kind}`, this.fields.get(kind).value);
    this.#fill();
  }

  #fill() {
    const kept = [...this.fields].map(([kind, one]) => [kind, one.value || localStorage.getItem(`choice.${kind}`)]);
    const wanted = Object.fromEntries(kept);
    const lists = fitting(this.config, wanted);
    for (const [kind, one] of this.fields) {
      one.field.hidden = lists[kind].length === 0;
      one.fill(lists[kind], lists[kind].length ? taken(lists[kind], wanted[kind]) : "");
    }
  }
}

class Cards {
  constructor(kind, label, onChange) {
    this.kind = kind;
    this.entries = "";
    this.field = document.createElement("fieldset");
    this.field.className = "cards";
    const legend = document.createElement("legend");
    legend.textContent = label;
    this.grid = document.createElement("div");
    this.field.append(legend, this.grid);
    this.field.addEventListener("change", onChange);
  }

  get value() {
    return this.grid.querySelector("input:checked")?.value ?? "";
  }

  fill(entries, chosen) {
    // drawn anew only when they differ: whoever goes through them by keyboard keeps the focus
    const drawn = JSON.stringify(entries);
    if (drawn !== this.entries) this.grid.replaceChildren(...entries.map((entry) => this.#card(entry)));
    this.entries = drawn;
    for (const input of this.grid.querySelectorAll("input")) input.checked = input.value === chosen;
  }

  #card({ id, name, note }) {
    const card = document.createElement("label");
    card.className = "card";
    const input = document.createElement("input");
    input.type = "radio";
    input.name = this.kind;
    input.value = id;
    const title = document.createElement("span");
    title.className = "name";
    title.dir = "auto";
    title.textContent = name;
    card.append(input, title);
    if (note) {
      const more = document.createElement("span");
      more.className = "note";
      more.textContent = note;
      card.append(more);
    }
    return card;
  }
}

class List {
  constructor(kind, label, onChange) {
    this.kind = kind;
    this.field = document.createElement("label");
    this.field.className = "field";
    const name = document.createElement("span");
    name.textContent = label;
    this.select = document.createElement("select");
    this.select.name = kind;
    this.select.addEventListener("change", onChange);
    this.field.append(name, this.select);
  }

  get value() {
    return this.select.value;
  }

  fill(entries, chosen) {
    this.select.replaceChildren(...entries.map((entry) => this.#option(entry)));
    if (entries.length) this.select.value = chosen;
  }

  #option({ id, name, note }) {
    const entry = new Option(note ? `${name} – ${note}` : name, id);
    // a screen reader is to say a language's name as its speakers do
    if (this.kind === "language" && id !== "auto") entry.lang = id;
    return entry;
  }
}
