// Two graphs of the last hour, ten seconds a cell: requests with errors in them, and the 95th percentile of their times.

import { byId, element, mark, vector, write } from "./elements.js";
import { clock, plural, rate, time } from "./words.js";

const HOUR_S = 3600, HEIGHT = 100;
const AGE = 0, RPS = 1, FAILED = 2, P50 = 3, P95 = 4; // places in a cell as it comes

/** Of one app; `take` what comes, `draw` it. */
export class Graphs {
  constructor() {
    this.cells = []; // { at, rps, failed, p50, p95 }, at: the end of the cell by this machine's clock, ms
    this.cellMs = 10000;
    this.knownFrom = Date.now();
    this.chosen = null; // how many cells ago is read out
    this.requests = graph("Requests per second");
    this.times = graph("95th percentile of response times");
    this.reading = element("p", { class: "reading", "aria-live": "polite" });
    byId("graphs").replaceChildren(this.requests.figure, this.times.figure, this.reading);
    for (const each of [this.requests, this.times]) {
      each.plot.addEventListener("pointermove", (event) => this.#point(event, each.plot));
      each.plot.addEventListener("pointerleave", () => this.#choose(null));
      each.plot.addEventListener("keydown", (event) => this.#step(event));
      each.plot.addEventListener("blur", () => this.#choose(null));
    }
  }

  take({ whole, cell_s: cellS, known_s: knownS, cells }) {
    const now = Date.now();
    if (whole) this.cells = [];
    this.cellMs = cellS * 1000;
    this.knownFrom = now - knownS * 1000;
    for (const cell of cells) this.cells.push({ at: now - cell[AGE] * 1000, rps: cell[RPS], failed: cell[FAILED], p50: cell[P50], p95: cell[P95] });
  }

  draw() {
    const now = Date.now(), from = now - HOUR_S * 1000;
    this.cells = this.cells.filter((cell) => cell.at > from);
    const most = nice(Math.max(0, ...this.cells.map((cell) => cell.rps)));
    const slowest = nice(Math.max(0, ...this.cells.map((cell) => cell.p95 ?? 0)));
    const x = (at) => ((at - from) / 1000).toFixed(1);
    const bars = (value) => this.cells.filter(value).map((cell) => bar(x(cell.at - this.cellMs), (value(cell) / most) * HEIGHT, this.cellMs / 1000)).join("");
    this.requests.set({ most: `${rate(most)}/s`, paths: { good: bars((cell) => cell.rps), bad: bars((cell) => cell.failed) } });
    this.times.set({ most: time(slowest), paths: { line: this.#line(x, slowest) } });
    const unknown = Math.max(0, (this.knownFrom - from) / 1000);
    for (const each of [this.requests, this.times]) mark(each.unknown, "width", unknown.toFixed(0));
    const last = this.cells.at(-1);
    const errors = this.cells.reduce((sum, cell) => sum + (cell.failed * this.cellMs) / 1000, 0);
    const busiest = Math.max(0, ...this.cells.map((cell) => cell.rps)), worst = Math.max(0, ...this.cells.map((cell) => cell.p95 ?? 0));
    this.requests.say(last ? `at most ${rate(busiest)} in a second, ${plural(Math.round(errors), "error")} in the last hour` : "no requests in the last hour");
    this.times.say(last ? `at most ${time(worst)} in the last hour` : "no requests in the last hour");
    this.#read();
  }

  #line(x, most) {
    let path = "", before = null;
    for (const cell of this.cells) {
      if (cell.p95 === null) continue;
      const y = (HEIGHT - (cell.p95 / most) * HEIGHT).toFixed(1), middle = x(cell.at - this.cellMs / 2);
      // A gap is a gap: nothing was asked, and so nothing was fast or slow.
      const joins = before !== null && cell.at - before < 2.5 * this.cellMs;
      path += joins ? `L${middle} ${y}` : `M${x(cell.at - this.cellMs)} ${y}L${middle} ${y}`;
      before = cell.at;
    }
    return path;
  }

  #point(event, plot) {
    const box = plot.getBoundingClientRect();
    this.#choose(Math.round(((1 - (event.clientX - box.left) / box.width) * HOUR_S * 1000) / this.cellMs - 0.5));
  }

  #step(event) {
    const by = { ArrowLeft: 1, ArrowRight: -1, PageUp: 30, PageDown: -30, Home: 1000, End: -1000 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    this.#choose((this.chosen ?? -1) + by);
  }

  #choose(cell) {
    this.chosen = cell === null ? null : Math.max(0, Math.min(Math.round((HOUR_S * 1000) / this.cellMs) - 1, cell));
    this.#read();
  }

  #read() {
    const shown = this.chosen !== null;
    const to = Date.now() - (this.chosen ?? 0) * this.cellMs;
    const cell = this.cells.find((each) => each.at <= to && each.at > to - this.cellMs);
    for (const each of [this.requests, this.times]) {
      mark(each.cursor, "x", (HOUR_S - ((this.chosen ?? 0) + 1) * (this.cellMs / 1000)).toFixed(0));
      mark(each.cursor, "width", shown ? String(this.cellMs / 1000) : "0");
    }
    if (!shown) return write(this.reading, "Point at a moment, or use the arrow keys in a graph, to read its figures.");
    const figures = to - this.cellMs < this.knownFrom - this.cellMs ? "not known" : cell ? `${rate(cell.rps)} requests/s, ${rate(cell.failed)} errors/s, p50 ${time(cell.p50)}, p95 ${time(cell.p95)}` : "no requests";
    write(this.reading, `${clock(new Date(to - this.cellMs))}: ${figures}`);
  }
}

function graph(title) {
  const said = element("span", { class: "quiet" }), top = element("span", { class: "top" });
  const svg = vector("svg", { viewBox: `0 0 ${HOUR_S} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const unknown = vector("rect", { class: "unknown", x: 0, y: 0, width: 0, height: HEIGHT });
  const cursor = vector("rect", { class: "cursor", x: 0, y: 0, width: 0, height: HEIGHT });
  const middle = vector("path", { class: "grid", d: `M0 ${HEIGHT / 2}H${HOUR_S}M0 0.5H${HOUR_S}` });
  const paths = Object.fromEntries(["good", "bad", "line"].map((name) => [name, vector("path", { class: name })]));
  svg.append(unknown, middle, paths.good, paths.bad, paths.line, cursor);
  const plot = element("div", { class: "plot", tabindex: "0", role: "img" }, svg, top);
  const axis = element("div", { class: "axis", "aria-hidden": "true" }, ...["60 min ago", "45", "30", "15", "now"].map((text) => element("span", {}, text)));
  const figure = element("figure", {}, element("figcaption", {}, `${title} `, said), plot, axis);
  return {
    figure, plot, unknown, cursor,
    set({ most, paths: found }) {
      write(top, most);
      for (const [name, d] of Object.entries(found)) mark(paths[name], "d", d);
    },
    say(text) {
      write(said, text);
      mark(plot, "aria-label", `${title}: ${text}`);
    },
  };
}

const bar = (x, height, width) => `M${x} ${HEIGHT}v${(-height).toFixed(1)}h${width}V${HEIGHT}z`;

/** The next number that is easy to read: 1, 2 or 5 times a power of ten. */
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= value * 0.999);
}
