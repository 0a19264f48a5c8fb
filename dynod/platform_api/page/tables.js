// The tables of apps and of dynos: rows by name, changed in place. Roles are said because on a phone rows are drawn as
// cards, and a table that is not drawn as one is none to a screen reader otherwise.

import { element, mark, write } from "./elements.js";
import { ago, count, memory, none, rate, share, span, time } from "./words.js";

const BROKEN = new Set(["crashed"]);
const MOVING = new Set(["starting"]);

export const tone = (state) => (BROKEN.has(state) ? "bad" : MOVING.has(state) ? "warn" : state === "up" ? "good" : "quiet");

const ofTraffic = [
  { title: "Req/s", number: true, text: (row) => rate(row.rps) },
  { title: "Errors/s", number: true, text: (row) => rate(row.failed), tone: (row) => (row.failed > 0 ? "bad" : "") },
  { title: "In flight", number: true, text: (row) => count(row.in_flight) },
  { title: "p50", number: true, text: (row) => time(row.p50) },
  { title: "p95", number: true, text: (row) => time(row.p95) },
  { title: "p99", number: true, text: (row) => time(row.p99) },
];

const trouble = { title: "Last error", wide: true, text: (row) => (row.last ? `${row.last.what.replace(/^Cause: /, "")} (${ago(row.last.at * 1000)})` : none) };

export const dynoColumns = [
  { title: "Dyno", text: (row) => row.name },
  { title: "State", text: (row) => row.state, tone: (row) => tone(row.state), isBadge: true },
  { title: "Up for", number: true, text: (row) => span(row.up_s) },
  { title: "Restarts", number: true, text: (row) => count(row.restarts) },
  ...ofTraffic,
  { title: "CPU", number: true, text: (row) => share(row.cpu) },
  { title: "Memory", number: true, text: (row) => memory(row.memory) + (row.quota ? ` of ${memory(row.quota)}` : ""), tone: (row) => (row.quota && row.memory > row.quota ? "bad" : "") },
  trouble,
];

export const appColumns = [
  { title: "App", text: (row) => row.name, href: (row) => `#/apps/${encodeURIComponent(row.name)}` },
  { title: "State", text: stateOf, tone: toneOf, isBadge: true },
  { title: "Release", number: true, text: (row) => (row.release ? `v${row.release}` : none) },
  { title: "Formation", loose: true, text: formation },
  ...ofTraffic.filter((column) => column.title !== "p50" && column.title !== "p99"),
  { title: "CPU", number: true, text: (row) => share(row.cpu) },
  { title: "Memory", number: true, text: (row) => memory(row.memory) },
  trouble,
];

export function stateOf(app) {
  if (app.maintenance) return "maintenance";
  const states = Object.entries(app.states);
  if (!states.length) return "no dynos";
  if (states.length === 1) return `${states[0][1]} ${states[0][0]}`;
  return states.map(([state, number]) => `${number} ${state}`).join(", ");
}

export function toneOf(app) {
  const tones = new Set(Object.keys(app.states).map(tone));
  return ["bad", "warn", "good"].find((each) => tones.has(each) && !(each === "good" && app.maintenance)) ?? (app.maintenance ? "warn" : "quiet");
}

export function formation(app) {
  return Object.entries(app.formation).map(([type, number]) => `${type}=${number}`).join(" ") || none;
}

/** Titles once, then a row for each of `rows`, by name and in their order. */
export function fill(body, columns, rows) {
  const head = body.parentElement.querySelector("thead");
  if (!head.firstChild) {
    const titles = columns.map((column) => element("th", { scope: "col", role: "columnheader", ...(column.number && { class: "number" }) }, column.title));
    head.append(element("tr", { role: "row" }, ...titles));
  }
  const known = new Map([...body.children].map((row) => [row.dataset.name, row]));
  let place = body.firstChild;
  for (const row of rows) {
    const line = known.get(row.name) ?? newRow(columns, row);
    known.delete(row.name);
    columns.forEach((column, number) => fillCell(line.children[number], column, row));
    if (line === place) place = place.nextSibling;
    else body.insertBefore(line, place);
  }
  for (const line of known.values()) line.remove();
}

function newRow(columns, row) {
  const cells = columns.map((column, number) => {
    const cell = number ? element("td", { role: "cell" }) : element("th", { scope: "row", role: "rowheader" });
    cell.dataset.title = column.title;
    if (column.number) cell.classList.add("number");
    for (const kind of ["wide", "loose"]) if (column[kind]) cell.classList.add(kind);
    cell.append(column.href ? element("a", { href: column.href(row) }) : element("span"));
    return cell;
  });
  const line = element("tr", { role: "row" }, ...cells);
  line.dataset.name = row.name;
  return line;
}

function fillCell(cell, column, row) {
  const text = column.text(row), node = cell.firstChild;
  write(node, text);
  mark(cell, "data-none", text === none ? "yes" : null);
  const colour = column.tone?.(row) ?? "";
  mark(node, "class", [column.isBadge ? "badge" : "", colour].filter(Boolean).join(" "));
}
