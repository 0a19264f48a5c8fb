"""`dynod top`: an app's dynos, or all apps, live in a terminal; one plain look where there is none.

Asks the API once a second and draws what `top_view` makes of it, with the newest lines of the log below. Keys change
what they name, each after a `y`.
"""

import shutil
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import click

from dynod.cli import top_text
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import show
from dynod.cli.top_log import LogTail
from dynod.cli.top_screen import Screen
from dynod.cli.top_view import Act, Do, View
from dynod.core.config_vars import names_that_differ
from dynod.errors import DynodError
from dynod.platform_api.client import ApiClient
from dynod.platform_api.schema import Stats

EVERY_S: Final = 1.0  # between two looks; rates are what changed between them, so that one plain look waits too
SPARKS: Final = 60  # seconds of the sparkline
RELEASES: Final = 50  # that are looked at for one to go back to
NAMED: Final = 3  # config vars that are named, of those that would change back


@click.command("top")
@click.option("--once", is_flag=True, help="One look, as plain text.")
@click.option("--all", "of_all", is_flag=True, help="All apps, also where one is meant.")
@with_session
def command(session: Session, once: bool, of_all: bool) -> None:
    """Show an app's dynos live: state, requests, latency, CPU, memory, what went wrong last, and the log.

    Where there are several apps and none is named, all of them are shown.
    """
    app = None if of_all else session.meant_app
    client = session.client
    if session.as_json:
        session.show_json(client.stats(app) if app is not None else client.all_stats())
    elif once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        before, began = _stats(client, app), time.monotonic()
        time.sleep(EVERY_S)
        now = _stats(client, app)
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        look = _look(app, now, before, time.monotonic() - began, width=width)
        show("\n".join(line[:width] for line in look.lines))
    else:
        _Top(client, View(app)).run()


def _stats(client: ApiClient, app: str | None) -> list[Stats]:
    return client.all_stats() if app is None else [client.stats(app)]


def _look(
    app: str | None,
    now: Sequence[Stats],
    before: Sequence[Stats],
    seconds: float,
    p95s: Sequence[float | None] = (),
    *,
    width: int | None,
) -> top_text.Look:
    if app is None:
        return top_text.of_apps(now, before, seconds, width=width)
    return top_text.of_app(now[0], before[0] if before else None, seconds, p95s, width=width)


class _Top:
    """The loop: looks, keys, log."""

    def __init__(self, client: ApiClient, view: View) -> None:
        self._client = client
        self._view = view
        self._screen = Screen()
        self._tail: LogTail | None = None
        self._forget()

    def run(self) -> None:
        """Until somebody leaves."""
        _stats(self._client, self._view.app)  # what can be refused is refused on the terminal as it is
        with self._screen.taken():
            try:
                self._loop()
            finally:
                self._close_tail()

    def _loop(self) -> None:
        while True:
            self._look_again()
            until = time.monotonic() + EVERY_S
            while (left := until - time.monotonic()) > 0:
                self._draw()
                pressed = self._screen.wait(left)
                if pressed is None:
                    return
                for key in pressed:
                    act = self._view.press(key, self._now)
                    if act is not None and not self._carry_out(act):
                        return

    def _forget(self) -> None:
        """What was seen of another app."""
        self._now: list[Stats] = []
        self._look: top_text.Look | None = None
        self._seen_at = 0.0
        self._p95s: deque[float | None] = deque(maxlen=SPARKS)

    def _look_again(self) -> None:
        view = self._view
        try:
            now = _stats(self._client, view.app)
            if view.app is not None and (self._tail is None or self._tail.app != view.app or self._tail.has_ended):
                self._close_tail()
                self._tail = LogTail(self._client, view.app)
        except DynodError as error:
            view.trouble = f"{error}; trying again"
            return
        view.trouble = ""
        at = time.monotonic()
        before = self._now
        if view.app is not None:
            self._p95s.append(top_text.whole_p95(now[0], before[0]) if before else None)
        seconds, width = at - self._seen_at if before else EVERY_S, self._screen.size.columns
        self._look = _look(view.app, now, before or now, seconds, self._p95s, width=width)
        self._now, self._seen_at = now, at

    def _draw(self) -> None:
        size = self._screen.size
        look = self._look or top_text.Look(head=(self._view.app or "",), titles="", rows=(), names=())
        lines = self._tail.lines() if self._tail is not None and self._view.app is not None else []
        self._screen.draw(self._view.frame(look, lines, width=size.columns, height=size.lines))

    def _carry_out(self, act: Act) -> bool:
        """Do it; False: leave."""
        client = self._client
        try:
            match act.do:
                case Do.QUIT:
                    return False
                case Do.REDRAW:
                    self._screen.clear()
                case Do.OPEN | Do.OVERVIEW:
                    self._view.go_to(act.app or None)
                    self._close_tail()
                    self._forget()
                    self._look_again()
                case Do.FIND_RELEASE:
                    self._ask_for_rollback(act.app)
                case Do.RESTART:
                    client.restart(act.app, dyno=act.subject)
                case Do.SCALE:
                    client.scale(act.app, [{"type": act.subject, "quantity": act.value}])
                case Do.MAINTENANCE:
                    client.change_app(act.app, maintenance=act.value == "on")
                case Do.ROLL_BACK:
                    made = client.roll_back(act.app, act.subject, code_only=False)
                    self._view.says = f"Rolling back to {act.value}: v{made['version']}"
        except DynodError as error:
            self._view.says = str(error)
        else:
            self._view.says = act.said or self._view.says
        return True

    def _ask_for_rollback(self, app: str) -> None:
        """Name the release, and the config vars that would change back. Raises DynodError."""
        client = self._client
        eligible = [each for each in client.newest_releases(app, RELEASES) if each["eligible_for_rollback"]]
        if len(eligible) < 2:  # noqa: PLR2004 (the newest is the one that runs)
            self._view.says = "There is no release to roll back to"
            return
        target = eligible[1]
        version = f"v{target['version']}"
        names = sorted(names_that_differ(client.config_vars(app), client.config_vars(app, str(target["version"]))))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        back = f" Config vars change back: {', '.join(names[:NAMED])}{more}." if names else ""
        self._view.ask(
            Act(do=Do.ROLL_BACK, app=app, subject=target["id"], value=version), f"Roll back {app} to {version}?{back}"
        )

    def _close_tail(self) -> None:
        if self._tail is not None:
            self._tail.close()
            self._tail = None
