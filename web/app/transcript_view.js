// Draws the transcript, and reads finished utterances out to screen readers.

import { lines } from "./transcript.js";

export class TranscriptView {
  constructor({ list, empty, announce, latest }) {
    this.list = list;
    this.empty = empty;
    this.announce = announce;
    this.latest = latest;
    this.items = new Map();
    latest.addEventListener("click", () => this.#follow());
    this.following = true;
    list.addEventListener("scroll", () => this.#updateLatest(), { passive: true });
    // Whoever followed before the window changed follows still.
    new ResizeObserver(() => this.following && this.#follow()).observe(list);
  }

  /** @param {import("./transcript.js").Entry[]} entries */
  show(entries) {
    const { following } = this;
    for (const entry of entries) this.#draw(entry);
    this.empty.hidden = this.items.size > 0;
    if (following) this.#follow();
    else this.#updateLatest();
  }

  clear() {
    this.following = true;
    this.items.clear();
    this.list.replaceChildren();
    this.empty.hidden = false;
    this.latest.hidden = true;
  }

  #draw(entry) {
    let item = this.items.get(entry);
    if (!entry.text) {
      item?.remove();
      this.items.delete(entry);
      return;
    }
    if (!item) {
      item = document.createElement("li");
      item.dataset.who = entry.who;
      this.list.insertBefore(item, this.#after(entry));
      this.items.set(entry, item);
    }
    item.dataset.done = String(entry.done);
    item.classList.toggle("aside", entry.aside);
    const parts = lines(entry).map((line) => bubble(entry, line));
    const old = item.querySelectorAll("p").length;
    // The words in place as they grow: a bubble that is made anew loses what is selected in it.
    if (old === parts.length) parts.forEach(({ who, words }, n) => change(item.querySelectorAll(".who")[n], item.querySelectorAll("p")[n], who, words));
    else item.replaceChildren(...parts.flatMap(({ who, words }) => [who, words]));
    if (entry.done && !entry.old && !item.dataset.announced) {
      item.dataset.announced = "true";
      this.announce.textContent = lines(entry).map(({ name, from, to }) => `${nameOf(entry, name)}: ${entry.text.slice(from, to)}`).join(" ");
    }
  }

  // What was taken for noise, and turns out to be words, comes back where it was.
  #after(entry) {
    for (const [other, item] of this.items) if (other.begunAt > entry.begunAt) return item;
    return null;
  }

  #atEnd() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 48;
  }

  #follow() {
    this.list.scrollTop = this.list.scrollHeight;
    this.latest.hidden = this.following = true;
  }

  #updateLatest() {
    this.latest.hidden = this.following = this.#atEnd();
  }
}

function nameOf(entry, name) {
  if (entry.who === "agent") return name ?? "Agent";
  return entry.aside ? "You, meanwhile" : "You";
}

function bubble(entry, { name, from, to }) {
  const who = document.createElement("span");
  who.className = "who";
  who.textContent = nameOf(entry, name);
  const words = document.createElement("p");
  words.dir = "auto";
  const heard = Math.min(to, Math.max(from, entry.heard ?? to));
  const firm = Math.min(heard, Math.max(from, entry.firm));
  for (const [kind, text] of [["", entry.text.slice(from, firm)], ["unsure", entry.text.slice(firm, heard)]]) {
    const span = document.createElement("span");
    if (kind) span.className = kind;
    span.textContent = text;
    words.append(span);
  }
  if (entry.cut && to === entry.text.length) {
    const cut = document.createElement("span");
    cut.className = "cut";
    cut.textContent = "interrupted";
    words.append(" ", cut);
  }
  if (heard < to) {
    const unsaid = document.createElement("s");
    unsaid.className = "unsaid";
    unsaid.title = "Not said any more";
    unsaid.textContent = entry.text.slice(heard, to).trim();
    words.append(" ", unsaid);
  }
  return { who, words };
}

function change(who, words, newWho, newWords) {
  if (who.textContent !== newWho.textContent) who.textContent = newWho.textContent;
  if (words.childNodes.length !== newWords.childNodes.length) {
    words.replaceChildren(...newWords.childNodes);
    return;
  }
  [...newWords.childNodes].forEach((node, n) => {
    if (words.childNodes[n].textContent !== node.textContent) words.childNodes[n].textContent = node.textContent;
  });
}
