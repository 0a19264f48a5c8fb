// An app's log: its newest lines that hold what is looked for, and then what comes. The server filters.

import { byId, element, show, write } from "./elements.js";
import { ask, events, forever } from "./server.js";
import { clock } from "./words.js";

const LINES = 300; // asked for at first
const MOST = 2000; // kept in the page; the oldest go
const TYPING_MS = 300;
const LINE = /^(\S+) (app|heroku)\[([^\]]*)\]: ?(.*)$/s;
// eslint-disable-next-line no-control-regex
const COLOURS = /\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]/g; // what is for terminals alone

export class Log {
  constructor({ onSignedOut }) {
    this.box = byId("log");
    this.onSignedOut = onSignedOut;
    this.waiting = []; // lines that the next frame draws
    this.app = null;
    this.stopped = new AbortController();
    let typed = 0;
    byId("log-form").addEventListener("submit", (event) => { event.preventDefault(); this.#begin(); });
    byId("log-text").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(() => this.#begin(), TYPING_MS); });
    byId("log-from").addEventListener("change", () => this.#begin());
    byId("log-follow").addEventListener("change", () => this.#begin());
    this.box.addEventListener("scroll", () => { this.isAtEnd = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 40; }, { passive: true });
    new ResizeObserver(() => { if (this.isAtEnd) this.box.scrollTop = this.box.scrollHeight; }).observe(this.box);
  }

  /** Another app, or none. */
  open(app) {
    if (app === this.app) return;
    this.app = app;
    byId("log-text").value = "";
    byId("log-from").replaceChildren();
    this.offer([], []);
    this.#begin();
  }

  /** A page that nobody sees follows nothing: browsers have few connections to a host, over all tabs. */
  pause() {
    this.stopped.abort();
  }

  resume() {
    if (this.app !== null && this.stopped.signal.aborted) this.#begin();
  }

  /** The places that lines come from: process types and dynos. */
  offer(types, dynos) {
    const from = byId("log-from");
    const wanted = ["", "app", "heroku", "router", ...types, ...dynos.filter((name) => !types.includes(name))];
    if (wanted.join("\n") === [...from.options].map((option) => option.value).join("\n")) return;
    const was = from.value;
    const titles = { "": "everywhere", app: "the app", heroku: "dynod", router: "the router" };
    from.replaceChildren(...wanted.map((value) => element("option", { value }, titles[value] ?? value)));
    from.value = wanted.includes(was) ? was : "";
  }

  #begin() {
    this.stopped.abort();
    this.stopped = new AbortController();
    this.waiting = [];
    this.box.replaceChildren();
    this.isAtEnd = true;
    const { app } = this, { signal } = this.stopped;
    if (app === null) return;
    const wanted = this.#wanted();
    let place = null;
    this.#say("Reading …");
    forever(
      async (onGood) => {
        const made = await ask(`/apps/${encodeURIComponent(app)}/log-sessions`, { body: wanted, signal });
        const document = await made.json();
        if (!made.ok) return this.#refused(document.message);
        const headers = { Accept: "text/event-stream", ...(place !== null && { "Last-Event-ID": place }) };
        const answer = await ask(new URL(document.logplex_url).pathname, { headers, signal });
        if (!answer.ok) throw new Error(answer.statusText);
        this.#say("");
        onGood();
        for await (const event of events(answer)) {
          if (signal.aborted) return;
          place = event.id;
          this.#add(event.data.split("\n"));
        }
        if (!wanted.tail) {
          this.#say(this.box.childElementCount || this.waiting.length ? "" : "No such line.");
          this.stopped.abort();
        } else throw new Error("cut off");
      },
      { signal, onLost: () => this.#say("Lost; trying again …"), onSignedOut: this.onSignedOut },
    );
  }

  #wanted() {
    const from = byId("log-from").value;
    const source = from === "app" || from === "heroku" ? { source: from } : from ? { dyno: from } : {};
    return { ...source, lines: LINES, tail: byId("log-follow").checked, dynod: { text: byId("log-text").value } };
  }

  #refused(message) {
    this.#say(message);
    this.stopped.abort();
  }

  #say(text) {
    write(byId("log-state"), text);
    show(byId("log-state"), text !== "");
  }

  #add(lines) {
    if (!this.waiting.length) requestAnimationFrame(() => this.#draw());
    this.waiting.push(...lines);
    if (this.waiting.length > MOST) this.waiting.splice(0, this.waiting.length - MOST);
  }

  #draw() {
    const drawn = this.waiting.map(row);
    this.waiting = [];
    this.box.append(...drawn);
    while (this.box.childElementCount > MOST) this.box.firstChild.remove();
    if (this.isAtEnd) this.box.scrollTop = this.box.scrollHeight;
  }
}

function row(line) {
  const found = LINE.exec(line);
  if (!found) return element("p", {}, element("span", { class: "said" }, line.replace(COLOURS, "")));
  const [, at, source, ps, text] = found;
  const isBad = source === "heroku" && /\bat=error\b|Error [RHL]\d\d|crashed|^Cause: /.test(text);
  return element(
    "p",
    { class: source === "app" ? "" : isBad ? "platform bad" : "platform" },
    element("time", { datetime: at, title: at }, clock(new Date(at))),
    " ",
    element("b", {}, source === "app" ? ps : `${ps}`),
    " ",
    element("span", { class: "said" }, text.replace(COLOURS, "")),
  );
}
