// What the caller may choose before the call: which lists are shown, and what stands in them.

const KINDS = [
  ["flow", "flows", "Flow"],
  ["character", "characters", "Character"],
  ["voice", "voices", "Voice"],
  ["language", "languages", "Language"],
];

const CHARACTERS_FLOW = "persona";

/**
 * The entries of each list that go with the rest of what is chosen. A list that leaves no choice
 * is empty.
 * @param {Object<string, {id: string, language: string}[]>} config
 * @param {Object<string, string | null>} chosen by kind; what is not in a list counts as its first
 */
export function fitting(config, chosen) {
  const flow = taken(config.flows, chosen.flow) || CHARACTERS_FLOW;
  const language = taken(config.languages, chosen.language).split("-")[0];
  const anyVoice = !language || language === "auto";
  const lists = {
    flow: config.flows,
    character: flow === CHARACTERS_FLOW ? config.characters : [],
    voice: config.voices.filter((voice) => anyVoice || !voice.language || voice.language === language),
    language: config.languages,
  };
  return Object.fromEntries(Object.entries(lists).map(([kind, list]) => [kind, list.length > 1 ? list : []]));
}

function taken(list, id) {
  return (list.find((entry) => entry.id === id) ?? list[0])?.id ?? "";
}

function option(kind, { id, name, note }) {
  const entry = new Option(note ? `${name} – ${note}` : name, id);
  // a screen reader is to say a language's name as its speakers do
  if (kind === "language" && id !== "auto") entry.lang = id;
  return entry;
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
    const several = KINDS.filter(([, list]) => config[list].length > 1);
    this.fields = new Map(several.map(([kind, , label]) => [kind, this.#field(kind, label)]));
    this.#fill();
    this.box.replaceChildren(...[...this.fields.values()].map(({ field }) => field));
  }

  /** What is chosen in the lists that are shown, by kind. */
  get chosen() {
    const shown = [...this.fields].filter(([, { field }]) => !field.hidden);
    return Object.fromEntries(shown.map(([kind, { select }]) => [kind, select.value]));
  }

  #field(kind, label) {
    const field = document.createElement("label");
    field.className = "field";
    const name = document.createElement("span");
    name.textContent = label;
    const select = document.createElement("select");
    select.name = kind;
    select.addEventListener("change", () => {
      localStorage.setItem(`choice.${kind}`, select.value);
      this.#fill();
    });
    field.append(name, select);
    return { field, select };
  }

  #fill() {
    const kept = [...this.fields].map(([kind, { select }]) => [kind, select.value || localStorage.getItem(`choice.${kind}`)]);
    const wanted = Object.fromEntries(kept);
    const lists = fitting(this.config, wanted);
    for (const [kind, { field, select }] of this.fields) {
      field.hidden = lists[kind].length === 0;
      select.replaceChildren(...lists[kind].map((entry) => option(kind, entry)));
      if (lists[kind].length) select.value = taken(lists[kind], wanted[kind]);
    }
  }
}
