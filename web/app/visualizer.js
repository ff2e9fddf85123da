// Both sides of the call in one picture: the agent's voice grows outwards, the caller's inwards.

const BARS = 36;
const TURN_MS = 1400;
const BUSY = new Set(["thinking", "joining", "reconnecting", "initializing", "waiting", "busy"]);

export class Visualizer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{agent: import("./level.js").LevelMeter, caller: import("./level.js").LevelMeter}} sides
   */
  constructor(canvas, { agent, caller }) {
    this.canvas = canvas;
    this.sides = { agent, caller };
    this.state = "idle";
    this.frame = 0;
    this.colours = null;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
      matchMedia(query).addEventListener("change", () => {
        this.colours = null;
        this.#soon();
      });
    }
    new ResizeObserver(() => this.#soon()).observe(canvas);
  }

  /** @param {string} state what the page says that the agent does */
  show(state) {
    this.state = state;
    this.#soon();
  }

  #soon() {
    this.frame ||= requestAnimationFrame((now) => {
      this.frame = 0;
      this.#draw(now);
      const turning = BUSY.has(this.state) && !this.calm.matches;
      if (this.state !== "idle" && (turning || this.sides.agent.analyser || this.sides.caller.analyser)) this.#soon();
    });
  }

  #draw(now) {
    const { canvas } = this;
    const ratio = Math.min(3, devicePixelRatio || 1);
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    const colours = (this.colours ??= coloursOf(canvas));
    const size = Math.min(width, height);
    const radius = size * 0.3;
    pen.save();
    pen.translate(width / 2, height / 2);
    this.#disc(pen, radius, colours);
    pen.lineCap = "round";
    pen.lineWidth = Math.max(2, (2 * Math.PI * radius) / (BARS * 2) / 2.4);
    this.#ring(pen, this.sides.agent.bands(BARS), colours.agent, radius * 1.08, size * 0.16, 1);
    this.#ring(pen, this.sides.caller.bands(BARS), colours.caller, radius * 0.94, size * 0.14, -1);
    if (BUSY.has(this.state)) this.#arc(pen, radius * 1.3, colours, this.calm.matches ? 0 : now);
    pen.restore();
  }

  #disc(pen, radius, colours) {
    const swell = 1 + this.sides.agent.level * 0.12;
    const core = radius * 0.56 * swell;
    pen.globalAlpha = this.state === "idle" || this.state === "waiting" ? 0.55 : 1;
    const glow = pen.createRadialGradient(-core * 0.35, -core * 0.4, core * 0.1, 0, 0, core);
    glow.addColorStop(0, colours.light);
    glow.addColorStop(0.75, colours.agent);
    glow.addColorStop(1, colours.agent);
    pen.fillStyle = glow;
    pen.beginPath();
    pen.arc(0, 0, core, 0, 2 * Math.PI);
    pen.fill();
    pen.globalAlpha = 1;
  }

  // Low sounds stand at the bottom, and rise on both sides alike.
  #ring(pen, bands, colour, from, longest, outwards) {
    pen.strokeStyle = colour;
    for (let bar = 0; bar < BARS * 2; bar += 1) {
      const band = bar < BARS ? bar : 2 * BARS - 1 - bar;
      const value = bands?.[band] ?? 0;
      if (!bands && outwards < 0) continue;
      pen.globalAlpha = value > 0.02 ? 0.35 + 0.65 * value : 0.28;
      const angle = Math.PI / 2 + ((bar + 0.5) / (BARS * 2)) * 2 * Math.PI;
      const to = from + outwards * Math.max(1, value ** 1.6 * longest);
      const [x, y] = [Math.cos(angle), Math.sin(angle)];
      pen.beginPath();
      pen.moveTo(x * from, y * from);
      pen.lineTo(x * to, y * to);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  #arc(pen, radius, colours, now) {
    const begin = ((now % TURN_MS) / TURN_MS) * 2 * Math.PI;
    pen.strokeStyle = colours.agent;
    pen.beginPath();
    pen.arc(0, 0, radius, begin, begin + Math.PI * 0.45);
    pen.stroke();
  }
}

function coloursOf(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(name).trim();
  return { agent: colour("--accent"), caller: colour("--caller"), light: colour("--glow") };
}
