"""`dynod logs`: an app's newest lines and, with --tail, every line from now on.

A log session is asked for and opened (Heroku's two steps), and what it sends is Heroku's full text form; on a terminal
it is shown as `dynod up` shows it. A tail that is cut, because the core is being replaced, goes on where it was: the
next session begins at the last line's time, and what was shown of that moment already is left out.
"""

import json
import os
import sys
import time
from collections import Counter
from datetime import datetime
from typing import Final

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import tell, wants_colour
from dynod.core.log_line import LogBatch
from dynod.core.log_reading import LineReader
from dynod.core.log_text import TerminalText
from dynod.core.moment_text import parse_moment
from dynod.core.suggest import dyno_not_found, not_found
from dynod.core.syslog_frame import full_stamp
from dynod.core.trace_fields import may_have_traces, trace_of
from dynod.errors import UsageError
from dynod.platform_api.requests import CUT_SHORT, ApiError

READ_BYTES: Final = 64 * 1024
AGAIN_S: Final = 0.2  # between two sessions, where one is cut as soon as it is opened
SPEAKERS: Final = ("router", "api", "release", "run", "scheduler")  # have lines though they are no dynos, or none yet
NAME_WIDTH: Final = len("heroku[worker.1]:")


@click.command("logs")
@click.option("-n", "--num", type=click.IntRange(0, 1500), metavar="N", help="How many lines (default: 100).")
@click.option("-t", "--tail", is_flag=True, help="Go on with every new line.")
@click.option("-s", "--source", type=click.Choice(["app", "heroku"]), help="Only what the app, or the platform, says.")
@click.option("-p", "--ps", "--process-type", "process_type", metavar="TYPE", help="Only dynos of this process type.")
@click.option("-d", "--dyno-name", "--dyno", "dyno", metavar="DYNO", help="Only this dyno, or `router` or `api`.")
@click.option(
    "--since", metavar="TIME", help="Only from then on: 10m, 14:30, 2026-11-23T14:30; all, unless -n is said."
)
@click.option("--until", metavar="TIME", help="Only before then.")
@click.option("--grep", "text", default="", metavar="TEXT", help="Only lines with this text in them, to the letter.")
@click.option("--where", default="", metavar="CONDITIONS", help="Only router lines such as 'status>=500 service>1s'.")
@click.option("--force-colors", is_flag=True, help="Colours, also where this is no terminal.")
@click.option("--no-color", is_flag=True, help="No colours.")
@with_session
def command(
    session: Session,
    *,
    num: int | None,
    tail: bool,
    source: str | None,
    process_type: str | None,
    dyno: str | None,
    since: str | None,
    until: str | None,
    text: str,
    where: str,
    force_colors: bool,
    no_color: bool,
) -> None:
    """Show the log of an app: the last 100 lines, or as many as -n says, of those that are asked for."""
    if dyno is not None and process_type is not None:
        raise UsageError("--dyno-name and --ps exclude each other")
    if tail and until is not None:
        raise UsageError("--tail has no end, and --until is one: leave one of them out")
    now = datetime.now().astimezone()
    extras: dict[str, object] = {"text": text, "where": where}
    if since is not None:
        extras["since"] = parse_moment(since, now=now, option="--since")
    if until is not None:
        extras["until"] = parse_moment(until, now=now, option="--until")
    wanted: dict[str, object] = {
        "dyno": dyno,
        "type": process_type,
        "source": source,
        "lines": num,
        "tail": tail,
        "dynod": extras,
    }
    if dyno is not None or process_type is not None:
        _name_the_near(session, dyno, process_type)
    show = _Show(as_json=session.as_json, force_colours=force_colors, no_colours=no_color)
    _Follower(session, wanted, show).run()


def _name_the_near(session: Session, dyno: str | None, process_type: str | None) -> None:
    """A dyno that is no more has lines all the same, so that to ask for one is no mistake; but it may be."""
    dynos = [each["name"] for each in session.client.dynos(session.app)]
    declared = {each["type"] for each in session.client.formation(session.app)}
    types = sorted(declared | {name.rpartition(".")[0] for name in dynos})
    if dyno is not None and dyno not in {*dynos, *types} and dyno.partition(".")[0] not in SPEAKERS:
        tell(f"dynod: {dyno_not_found(dyno, [*dynos, *SPEAKERS])}")
    if process_type is not None and process_type not in {*types, *SPEAKERS}:
        tell(f"dynod: {not_found('process type', process_type, types)}")


class _Show:
    """How lines look here."""

    def __init__(self, *, as_json: bool, force_colours: bool, no_colours: bool) -> None:
        colour = not no_colours and (force_colours or wants_colour(sys.stdout))
        self._text: TerminalText | None = None
        if not as_json and (sys.stdout.isatty() or force_colours):
            self._text = TerminalText(
                colour=colour, utc_offset_s=lambda at: time.localtime(at).tm_gmtoff, name_width=NAME_WIDTH
            )
        self._as_json = as_json
        self._lines = LineReader()

    def __call__(self, data: bytes) -> None:
        """Whole lines in Heroku's full form."""
        if self._as_json or self._text is not None:
            batches, _unreadable = self._lines.batches(data)
            form = _json_lines if self._as_json else self._text.format if self._text is not None else None
            assert form is not None  # noqa: S101 (one of both)
            data = b"".join(form(batch) for batch in batches)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class _Follower:
    """One `dynod logs`, over as many sessions as it takes."""

    def __init__(self, session: Session, wanted: dict[str, object], show: _Show) -> None:
        self._session = session
        self._wanted = wanted
        self._show = show
        self._reader = LineReader()
        self._last_at: float | None = None
        self._of_last: Counter[bytes] = Counter()  # the lines of that moment, which are shown
        self._to_skip: Counter[bytes] = Counter()

    def run(self) -> None:
        while True:
            try:
                self._one_session()
            except ApiError as error:
                if error.code != CUT_SHORT or not self._wanted["tail"]:
                    raise
            else:
                return
            time.sleep(AGAIN_S)
            if self._last_at is not None:
                extras = self._wanted["dynod"]
                assert isinstance(extras, dict)  # noqa: S101 (made in this file)
                self._wanted |= {"lines": None, "dynod": {**extras, "since": self._last_at}}
                self._to_skip = self._of_last.copy()

    def _one_session(self) -> None:
        client = self._session.client
        half = b""
        for data in client.log_lines(self._session.app, self._wanted):
            lines, newline, half = (half + data).rpartition(b"\n")
            if newline:
                self._pass_on(lines + newline)

    def _pass_on(self, data: bytes) -> None:
        if self._to_skip:
            data = self._unseen(data)
        if not data:
            return
        self._remember(data)
        self._show(data)

    def _unseen(self, data: bytes) -> bytes:
        """Without the lines of the last moment that were shown before the cut."""
        kept = []
        for line in data.splitlines(keepends=True):
            if self._to_skip[line] > 0:
                self._to_skip[line] -= 1
            else:
                kept.append(line)
        self._to_skip = +self._to_skip
        return b"".join(kept)

    def _remember(self, data: bytes) -> None:
        """The last moment and its lines: what another session would begin with."""
        lines = data.split(b"\n")[:-1]
        last = self._reader.prefix(lines[-1])
        if last is None:
            return
        if last.time != self._last_at:
            self._last_at = last.time
            self._of_last.clear()
        stamp = lines[-1][: last.length].partition(b" ")[0]
        for line in reversed(lines):
            if not line.startswith(stamp):
                break
            self._of_last[line + b"\n"] += 1


def _json_lines(batch: LogBatch) -> bytes:
    """One object a line."""
    head = {"timestamp": full_stamp(batch.time), "source": batch.source, "dyno": batch.ps}
    of_router = may_have_traces(batch)
    documents = []
    for line in batch.text.split(b"\n")[:-1]:
        trace = trace_of(line) if of_router else None
        fields = trace._asdict() if trace is not None else {}
        documents.append({**head, "message": line.decode("utf-8", "backslashreplace"), **fields})
    return "".join(json.dumps(each, ensure_ascii=False) + os.linesep for each in documents).encode()
