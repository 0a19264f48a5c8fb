"""`dynod top`: an app's dynos, live in a terminal; one plain look where there is none.

Asks the API once a second and draws what `top_text` makes of it. Keys change what they name, each after a `y`. The
terminal is left as it was found, whatever ends it.
"""

import contextlib
import os
import select
import shutil
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Iterator
from typing import Final

import click

from dynod.cli import top_text
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import show
from dynod.errors import DynodError
from dynod.platform_api.schema import Stats

EVERY_S: Final = 1.0  # between two looks; rates are what changed between them, so that one plain look waits too
SPARKS: Final = 60  # seconds of the sparkline
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # another screen, no cursor; and back
HOME, CLEAR_LINE, CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"
REVERSE, PLAIN = "\x1b[7m", "\x1b[0m"
KEYS: Final = "q quit  ↑↓ choose  r restart  + - scale  m maintenance"
UP, DOWN = ("\x1b[A", "k"), ("\x1b[B", "j")


@click.command("top")
@click.option("--once", is_flag=True, help="One look, as plain text.")
@with_session
def command(session: Session, once: bool) -> None:
    """Show an app's dynos live: state, requests, latency, CPU, memory, what went wrong last."""
    app = session.app
    if session.as_json:
        session.show_json(session.client.stats(app))
    elif once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        before, began = session.client.stats(app), time.monotonic()
        time.sleep(EVERY_S)
        now = session.client.stats(app)
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
        show("\n".join(top_text.lines(now, before, time.monotonic() - began, width=width)))
    else:
        with _screen():
            _Top(session, app).run()


class _Top:
    """What is shown, and what a key would do."""

    def __init__(self, session: Session, app: str) -> None:
        self._session = session
        self._app = app
        self._chosen = 0
        self._asks: tuple[str, str] | None = None  # what was asked for, and the question
        self._says = KEYS
        self._p95s: deque[float | None] = deque(maxlen=SPARKS)

    def run(self) -> None:
        before: Stats | None = None
        looked_at = 0.0
        while True:
            try:
                now = self._session.client.stats(self._app)
            except DynodError as error:
                self._says = str(error)
            else:
                at = time.monotonic()
                self._p95s.append(top_text.whole_p95(now, before) if before is not None else None)
                self._draw(now, before, at - looked_at if before is not None else EVERY_S)
                before, looked_at = now, at
            until = time.monotonic() + EVERY_S
            while (left := until - time.monotonic()) > 0:
                if not select.select([0], [], [], left)[0]:
                    break
                key = os.read(0, 16).decode("utf-8", "replace")
                if key in {"q", "\x03", "\x04", ""}:
                    return
                if before is not None:
                    self._press(key, before)
                    self._draw(before, None, max(EVERY_S, time.monotonic() - looked_at))
                    break

    def _draw(self, now: Stats, before: Stats | None, seconds: float) -> None:
        size = shutil.get_terminal_size()
        lines = top_text.lines(now, before, seconds, width=size.columns, p95s=tuple(self._p95s))
        first = len(lines) - len(now["dynos"])
        self._chosen = max(0, min(self._chosen, len(now["dynos"]) - 1))
        for number in range(len(lines)):
            if number == first + self._chosen and now["dynos"]:
                lines[number] = f"{REVERSE}{lines[number]}{PLAIN}"
        foot = self._asks[1] if self._asks is not None else self._says
        shown = [*lines[: size.lines - 2], "", foot[: size.columns]]
        sys.stdout.write(HOME + "\r\n".join(line + CLEAR_LINE for line in shown) + CLEAR_REST)
        sys.stdout.flush()

    def _press(self, key: str, stats: Stats) -> None:
        if self._asks is not None:
            action, _ = self._asks
            self._asks = None
            self._says = KEYS
            if key in {"y", "Y"}:
                self._do(action, stats)
            return
        if key in UP:
            self._chosen -= 1
        elif key in DOWN:
            self._chosen += 1
        elif key in {"r", "+", "-", "m"} and stats["dynos"]:
            dyno = stats["dynos"][self._chosen]
            count = stats["formation"].get(dyno["type"], 0)
            question = {
                "r": f"Restart {dyno['name']}?",
                "+": f"Scale {dyno['type']} to {count + 1}?",
                "-": f"Scale {dyno['type']} to {max(0, count - 1)}?",
                "m": f"Switch maintenance mode {'off' if stats['maintenance'] else 'on'}?",
            }[key]
            self._asks = (key, f"{question} y/n")

    def _do(self, action: str, stats: Stats) -> None:
        client, dyno = self._session.client, stats["dynos"][self._chosen]
        try:
            if action == "r":
                client.restart(self._app, dyno=dyno["name"])
                self._says = f"Restarting {dyno['name']}"
            elif action == "m":
                client.change_app(self._app, maintenance=not stats["maintenance"])
                self._says = f"Maintenance mode is {'off' if stats['maintenance'] else 'on'}"
            else:
                client.scale(self._app, [{"type": dyno["type"], "quantity": f"{action}1"}])
                self._says = f"Scaling {dyno['type']}"
        except DynodError as error:
            self._says = str(error)


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """Another screen, where keys come one by one."""
    found = termios.tcgetattr(0)
    try:
        tty.setcbreak(0)
        sys.stdout.write(ENTER)
        sys.stdout.flush()
        yield
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, found)
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
