"""What verbs print: data on stdout, everything else on stderr; colours on terminals alone (contracts 6)."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TextIO

import click

from dynod.errors import UsageError

LONGEST_ACTION: Final = 500  # characters; what was given is repeated in it
APP_SIGN: Final = "⬢"  # as Heroku's command line has it

_STATES: Final = {"up": "green", "starting": "yellow", "crashed": "red"}


def show(text: str) -> None:
    """Data: a line on stdout."""
    _print(text, sys.stdout, newline=True)


def tell(text: str, *, newline: bool = True) -> None:
    """Anything else, on stderr."""
    _print(text, sys.stderr, newline=newline)


def app_name(app: str) -> str:
    """`⬢ myapp`."""
    return click.style(f"{APP_SIGN} {app}", fg="magenta")


HELD: Final = "restored from a backup: no dyno starts until dynod serve --start"


def header(text: str) -> str:
    """`=== text`."""
    return click.style("=== ", dim=True) + click.style(text, bold=True)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns as wide as they need to be, the titles over them."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def state(name: str) -> str:
    """A dyno's state, in its colour."""
    return click.style(name, fg=_STATES.get(name))


def ask(question: str, *, instead: str) -> str:
    """What somebody types. Raises UsageError where nobody can: `instead` is the option that says it too."""
    try:
        return str(click.prompt(question, err=True))
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise UsageError(f"nobody answers here, and nothing was done: say it with {instead}") from None


@dataclass(slots=True)
class Outcome:
    """How an action ended."""

    text: str = "done"


@contextlib.contextmanager
def action(message: str) -> Iterator[Outcome]:
    """`Doing it... done`, or `!` where it is refused."""
    shown = message if len(message) <= LONGEST_ACTION else f"{message[: LONGEST_ACTION - 1]}…"
    tell(f"{shown}... ", newline=False)
    outcome = Outcome()
    try:
        yield outcome
    except BaseException:
        tell(click.style("!", fg="red"))
        raise
    tell(outcome.text)


def _print(text: str, stream: TextIO, *, newline: bool) -> None:
    encoding = stream.encoding or "utf-8"
    known = text.encode(encoding, "replace").decode(encoding)  # a terminal that cannot show ⬢ shows ?
    click.echo(known, file=stream, nl=newline, color=wants_colour(stream))


def wants_colour(stream: TextIO) -> bool:
    """Whether this stream is to be coloured: terminals are, unless the caller's environment says otherwise."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
