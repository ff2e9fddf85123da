// Draws the transcript, and reads finished utterances out to screen readers.

export class TranscriptView {
  constructor({ list, empty, announce, latest }) {
    this.list = list;
    this.empty = empty;
    this.announce = announce;
    this.latest = latest;
    this.items = new Map();
    latest.addEventListener("click", () => this.#follow());
    list.addEventListener("scroll", () => this.#updateLatest(), { passive: true });
  }

  /** @param {import("./transcript.js").Entry[]} entries */
  show(entries) {
    const following = this.#atEnd();
    for (const entry of entries) this.#draw(entry);
    this.empty.hidden = this.items.size > 0;
    if (following) this.#follow();
    else this.#updateLatest();
  }

  clear() {
    this.items.clear();
    this.list.replaceChildren();
    this.empty.hidden = false;
    this.latest.hidden = true;
  }

  #draw(entry) {
    if (!entry.text && !this.items.has(entry.id)) return;
    let item = this.items.get(entry.id);
    if (!item) {
      item = document.createElement("li");
      const who = document.createElement("span");
      who.className = "who";
      who.textContent = entry.who === "user" ? "You" : "Agent";
      const words = document.createElement("p");
      words.append(document.createElement("span"), document.createElement("span"));
      words.lastChild.className = "unsure";
      item.append(who, words);
      item.dataset.who = entry.who;
      this.list.append(item);
      this.items.set(entry.id, item);
    }
    const [firm, unsure] = item.querySelector("p").children;
    firm.textContent = entry.text.slice(0, entry.firm);
    unsure.textContent = entry.text.slice(entry.firm);
    item.dataset.done = String(entry.done);
    if (entry.cut && !item.querySelector(".cut")) {
      const cut = document.createElement("span");
      cut.className = "cut";
      cut.textContent = "interrupted";
      item.querySelector("p").append(" ", cut);
    }
    if (entry.done && !item.dataset.announced && entry.text) {
      item.dataset.announced = "true";
      this.announce.textContent = `${entry.who === "user" ? "You" : "Agent"}: ${entry.text}`;
    }
  }

  #atEnd() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 48;
  }

  #follow() {
    this.list.scrollTop = this.list.scrollHeight;
    this.latest.hidden = true;
  }

  #updateLatest() {
    this.latest.hidden = this.#atEnd();
  }
}
