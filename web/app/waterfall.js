// Draws the turns' times as a waterfall, newest first.

import { STAGES } from "./latency.js";

const SVG = "http://www.w3.org/2000/svg";
const ROWS = 8;
const WIDTH = 1000;

export class Waterfall {
  constructor({ table, body, empty, legend, p50, p95, brief }) {
    Object.assign(this, { table, body, empty, legend, p50, p95, brief });
    for (const [name, label] of STAGES) {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = `swatch ${name}`;
      item.append(swatch, label);
      legend.append(item);
    }
  }

  /** @param {import("./latency.js").Latency} latency */
  show(latency) {
    const turns = latency.turns.slice(-ROWS).reverse();
    const any = turns.length > 0;
    this.table.hidden = this.legend.hidden = !any;
    this.empty.hidden = any;
    this.p50.textContent = any ? milliseconds(latency.percentile(0.5)) : "–";
    this.p95.textContent = any ? milliseconds(latency.percentile(0.95)) : "–";
    this.brief.textContent = any ? ` · answers after ${milliseconds(latency.percentile(0.5))}` : "";
    const ends = turns.map((turn) => Math.max(turn.total, turn.stages.at(-1)?.to ?? 0));
    const scale = WIDTH / Math.max(1000, ...ends);
    this.body.replaceChildren(...turns.map((turn) => row(turn, scale)));
  }
}

function row(turn, scale) {
  const line = document.createElement("tr");
  const number = document.createElement("th");
  number.scope = "row";
  number.textContent = String(turn.turn);
  if (turn.typed) {
    const typed = document.createElement("abbr");
    typed.title = "typed";
    typed.textContent = "⌨";
    number.append(" ", typed);
  }
  const drawing = document.createElement("td");
  drawing.className = "bars";
  drawing.append(bars(turn, scale));
  const total = document.createElement("td");
  total.className = "total";
  total.textContent = milliseconds(turn.total);
  if (turn.heardS !== null) total.title = `interrupted after ${turn.heardS.toFixed(1)} s`;
  line.append(number, drawing, total);
  return line;
}

function bars(turn, scale) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} 28`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", turn.stages.map((s) => `${s.label} ${milliseconds(s.to)}`).join(", "));
  for (const stage of turn.stages) {
    const bar = document.createElementNS(SVG, "rect");
    bar.setAttribute("x", String(stage.from * scale));
    bar.setAttribute("y", "4");
    bar.setAttribute("height", "20");
    bar.setAttribute("width", String(Math.max(2, (stage.to - stage.from) * scale)));
    bar.setAttribute("class", stage.name);
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${stage.label}: ${milliseconds(stage.to)} (+${milliseconds(stage.to - stage.from)})`;
    bar.append(title);
    svg.append(bar);
  }
  return svg;
}

function milliseconds(value) {
  return `${Math.round(value)} ms`;
}
