// The dashboard: who looks, at which app, and what comes. The address says which: #/ all, #/apps/NAME one, #code=… once.

import { byId, element, mark, show, write } from "./elements.js";
import { Graphs } from "./graphs.js";
import { Log } from "./log.js";
import { drawReleases } from "./releases.js";
import { SignedOut, ask, events, forever, session, signIn } from "./server.js";
import { appColumns, dynoColumns, fill, formation, stateOf, toneOf } from "./tables.js";
import { clock, count, memory, plural, rate, share, time } from "./words.js";

const SILENCE_MS = 15000; // a stream that has said nothing for so long is none any more
const log = new Log({ onSignedOut: signedOut });
let graphs = new Graphs();
let looking = new AbortController();
let app = null; // whose page it is; null: all
let released = null; // what the list of releases was drawn for

async function begin() {
  const code = /^#code=([\w-]+)(?:&app=([^&]*))?$/.exec(location.hash);
  if (code) {
    history.replaceState(null, "", code[2] ? `#/apps/${code[2]}` : "#/"); // what opens is in no address and no history
    try {
      await signIn({ code: code[1] });
    } catch (error) {
      if (!session.get()) return signedOut(error.message);
    }
  }
  if (!session.get()) return signedOut();
  look();
}

function look() {
  const named = /^#\/apps\/([^/]+)$/.exec(location.hash);
  app = named ? decodeURIComponent(named[1]) : null;
  looking.abort();
  looking = new AbortController();
  released = null;
  graphs = new Graphs();
  for (const id of ["dynos", "figures", "releases"]) byId(id).replaceChildren();
  for (const id of ["no-dynos", "no-releases"]) show(byId(id), false);
  show(byId("sign-in"), false);
  show(byId("leave"), true);
  show(byId("all"), app === null);
  show(byId("one"), app !== null);
  write(byId("one-title"), app ?? "");
  for (const id of ["one-facts", "all-facts"]) write(byId(id), "");
  mark(byId("main"), "data-stale", null);
  document.title = app === null ? "dynod" : `${app} – dynod`;
  log.open(app);
  listen();
}

function listen() {
  if (looking.signal.aborted) looking = new AbortController();
  const { signal } = looking, query = app === null ? "" : `?app=${encodeURIComponent(app)}`;
  forever(
    async (onGood) => {
      const quiet = new AbortController();
      const either = AbortSignal.any([signal, quiet.signal]);
      let timer = setTimeout(() => quiet.abort(), SILENCE_MS), isEmpty = true;
      try {
        const answer = await ask(`/dynod/dashboard/stream${query}`, { signal: either });
        if (!answer.ok) throw new Error((await answer.json()).message);
        for await (const { event, data } of events(answer)) {
          if (signal.aborted) return;
          clearTimeout(timer);
          timer = setTimeout(() => quiet.abort(), SILENCE_MS);
          onGood();
          isEmpty = false;
          if (event === "picture") draw(JSON.parse(data));
          else if (event === "cells") graphs.take(JSON.parse(data));
          graphs.draw();
        }
      } finally {
        clearTimeout(timer);
      }
      if (isEmpty) throw new Error("nothing came"); // else it has ended as streams do after a while
    },
    { signal, onLost: lost, onSignedOut: signedOut },
  );
}

function draw(picture) {
  say("Live", "good");
  mark(byId("main"), "data-stale", null);
  const dropped = picture.dropped ? ` · ${plural(picture.dropped, "page")} dropped for being too slow` : "";
  write(byId("who"), `${picture.user} · dynod ${picture.version}${dropped}`);
  if (app === null) {
    fill(byId("apps"), appColumns, picture.apps);
    show(byId("no-apps"), picture.apps.length === 0);
    show(byId("apps").closest(".card"), picture.apps.length > 0);
    const crashed = picture.apps.filter((each) => each.states.crashed).length;
    const facts = crashed ? [element("span", { class: "badge bad" }, `${plural(crashed, "app")} with a crashed dyno`)] : [];
    const dynos = picture.apps.reduce((sum, each) => Object.values(each.states).reduce((all, one) => all + one, sum), 0);
    const text = picture.apps.length ? `${plural(picture.apps.length, "app")} · ${plural(dynos, "dyno")}` : "";
    redraw(byId("all-facts"), ...facts, text);
    return;
  }
  const found = picture.apps.find((each) => each.name === picture.app);
  if (!found) {
    byId("one-facts").replaceChildren(element("span", { class: "badge bad" }, "There is no such app (any more)."));
    return;
  }
  const badge = element("span", { class: `badge ${toneOf(found)}` }, stateOf(found));
  const facts = [formation(found), found.release ? `v${found.release}` : "", found.one_off_dynos ? plural(found.one_off_dynos, "one-off dyno") : ""];
  const text = facts.filter((each) => each && each !== "–").join(" · ");
  redraw(byId("one-facts"), badge, text);
  figures({
    "Requests/s": [rate(found.rps)],
    "Errors/s": [rate(found.failed), found.failed > 0 ? "bad" : ""],
    "In flight": [count(found.in_flight)],
    p50: [time(found.p50)],
    p95: [time(found.p95)],
    p99: [time(found.p99)],
    CPU: [share(found.cpu)],
    Memory: [memory(found.memory)],
  });
  fill(byId("dynos"), dynoColumns, picture.dynos);
  show(byId("no-dynos"), picture.dynos.length === 0);
  show(byId("dynos").closest(".card"), picture.dynos.length > 0);
  log.offer(Object.keys(found.formation), picture.dynos.map((dyno) => dyno.name));
  refreshReleases(`${app} ${found.releases}`);
}

/** Only where its text differs, as `write` does. */
function redraw(node, ...children) {
  const made = element("p", {}, ...children);
  if (node.textContent !== made.textContent) node.replaceChildren(...made.childNodes);
}

function figures(found) {
  const list = byId("figures");
  if (!list.firstChild) list.append(...Object.keys(found).map((name) => element("div", {}, element("dt", {}, name), element("dd"))));
  Object.values(found).forEach(([text, colour = ""], number) => {
    const value = list.children[number].lastChild;
    write(value, text);
    mark(value, "class", colour);
  });
}

function refreshReleases(now) {
  if (released === now) return;
  released = now;
  drawReleases(app, looking.signal).catch((error) => {
    if (looking.signal.aborted) return;
    released = null; // with the next picture
    if (error instanceof SignedOut) signedOut();
  });
}

/** What is shown is no longer so, and looks it. */
function lost() {
  if (byId("main").dataset.stale) return;
  mark(byId("main"), "data-stale", "yes");
  say(`Connection lost at ${clock(new Date())}; trying again …`, "warn");
}

function say(text, tone) {
  write(byId("state"), text);
  mark(byId("state"), "class", tone);
}

function signedOut(why = "") {
  looking.abort();
  log.open(null);
  session.end();
  for (const id of ["all", "one", "leave"]) show(byId(id), false);
  show(byId("sign-in"), true);
  write(byId("sign-in-error"), why);
  write(byId("who"), "");
  say("Signed out", "quiet");
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("token"), token = field.value.trim();
  try {
    await signIn({ token });
  } catch (error) {
    write(byId("sign-in-error"), error.message);
    return field.focus();
  }
  field.value = "";
  look();
  focusTitle();
});

byId("leave").addEventListener("click", () => {
  signedOut();
  byId("token").focus();
});

function focusTitle() {
  byId(app === null ? "all-title" : "one-title").focus({ preventScroll: true });
  scrollTo(0, 0);
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says where one is
  byId("main").focus();
});

addEventListener("hashchange", () => {
  if (location.hash.startsWith("#code=")) return void begin();
  if (session.get()) {
    look();
    focusTitle();
  }
});

// A page that nobody sees asks for nothing.
document.addEventListener("visibilitychange", () => {
  if (!session.get()) return;
  if (document.hidden) {
    looking.abort();
    log.pause();
    return;
  }
  log.resume();
  if (looking.signal.aborted) listen();
});

begin();
