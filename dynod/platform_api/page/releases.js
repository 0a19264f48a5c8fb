// An app's newest releases, and what each has changed: names of config vars, never their values.

import { byId, element, show, write } from "./elements.js";
import { ask } from "./server.js";
import { ago } from "./words.js";

const TONES = { failed: "bad", pending: "warn", succeeded: "quiet", expired: "quiet" };

export async function drawReleases(app, signal) {
  const answer = await ask(`/apps/${encodeURIComponent(app)}/release-changes`, { signal });
  const found = await answer.json();
  const list = byId("releases"), note = byId("no-releases");
  if (signal.aborted) return;
  list.replaceChildren(...(answer.ok ? found.map(row) : []));
  show(list, answer.ok && found.length > 0);
  show(note, !answer.ok || !found.length);
  write(note, answer.ok ? "No release yet." : found.message);
}

function row(release) {
  const made = new Date(release.created_at);
  const state = release.current ? "current" : release.status === "succeeded" ? "" : release.status;
  const line = element(
    "li",
    { "aria-label": `v${release.version}` },
    element("b", {}, `v${release.version}`),
    element("span", { class: "what" }, release.description),
    state ? element("span", { class: `badge ${release.current ? "good" : TONES[release.status]}` }, state) : "",
    element("span", { class: "quiet" }, `${release.user}, `, element("time", { datetime: release.created_at, title: made.toLocaleString() }, ago(made))),
  );
  const changes = differences(release.changes);
  if (changes.length) line.append(element("ul", { class: "diff" }, ...changes));
  if (release.failure) line.append(element("p", { class: "bad" }, release.failure));
  return line;
}

function differences({ code, config, process_types: types }) {
  const named = (kind, { added, removed, changed }) => [
    ...added.map((name) => difference("+", "added", kind, name)),
    ...removed.map((name) => difference("−", "removed", kind, name)),
    ...changed.map((name) => difference("±", "changed", kind, name)),
  ];
  return [...(code ? [difference("±", "changed", "", "code")] : []), ...named("", config), ...named("process type ", types)];
}

function difference(sign, word, kind, name) {
  const text = element("code", {}, name);
  return element("li", { class: word }, element("span", { "aria-hidden": "true" }, `${sign} `), element("span", { class: "unseen" }, `${word} `), kind, text);
}
