// The API, asked with this tab's session. Streams are read with fetch, since an EventSource can send no session along.

const KEY = "dynod-session";
const LONGEST_WAIT_MS = 10000;

/** The session is over, or there is none. */
export class SignedOut extends Error {}

export const session = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  end: () => sessionStorage.removeItem(KEY),
};

/** A session for a code or a token; throws an Error that says why not. */
export async function signIn(ticket) {
  const answer = await fetch("/dynod/dashboard/sessions", { method: "POST", body: JSON.stringify(ticket) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.message);
  session.set(said.session);
}

export async function ask(path, { body, headers = {}, signal } = {}) {
  const answer = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: { Authorization: `Bearer ${session.get()}`, ...headers },
    cache: "no-store",
    signal,
  });
  if (answer.status === 401) throw new SignedOut();
  return answer;
}

/** Server-sent events (HTML, 9.2.6), as { event, data, id }. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", found = { event: "message", data: [], id: null };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (found.data.length) yield { ...found, data: found.data.join("\n") };
          found = { event: "message", data: [], id: null };
        } else if (line.startsWith("data: ")) found.data.push(line.slice(6));
        else if (line.startsWith("event: ")) found.event = line.slice(7);
        else if (line.startsWith("id: ")) found.id = line.slice(4);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Call `once` again and again, each time when it has ended; after failures ever later. Ends with the signal. */
export async function forever(once, { signal, onLost, onSignedOut }) {
  let failures = 0;
  while (!signal.aborted) {
    try {
      await once(() => { failures = 0; });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof SignedOut) return onSignedOut();
      failures += 1;
      onLost(error);
      await pause(Math.min(LONGEST_WAIT_MS, 250 * 2 ** failures), signal);
    }
  }
}

function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}
