"""What a build says, as Heroku's do: `-----> ` for a step, seven blanks for its details, ` !     ` for errors."""

import sys
from typing import Final

STEP: Final = "-----> "
DETAIL: Final = "       "
ERROR: Final = " !     "


def step(text: str) -> None:
    _say(STEP, text)


def detail(text: str) -> None:
    for line in text.splitlines():
        _say(DETAIL, line)


def error(text: str) -> None:
    """Lines that say what is wrong and what to do."""
    for line in text.splitlines():
        _say(ERROR, line)


def _say(prefix: str, text: str) -> None:
    sys.stdout.write(f"{prefix}{text}".rstrip() + "\n")
    sys.stdout.flush()  # the user watches a build while it runs
