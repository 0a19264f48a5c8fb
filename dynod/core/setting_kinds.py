"""What a setting's value may be: each kind reads TOML's typed value and a person's text, and says what it expects.

Reading gives the value in the one form that dynod uses, or None where it is not of the kind; `shown` writes it down so
that `parse` reads the same value again, which is how the store keeps it. Pure.
"""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

Value = bool | int | float | str | tuple[float, ...]

MINUTE_S: Final = 60
DAY_S: Final = 24 * 60 * MINUTE_S
MONTH_S: Final = 31 * DAY_S  # longer waits are typing errors
MOST_BYTES: Final = 2**40
DIGITS: Final = 6  # of a fraction: finer differences are noise, and a text is read back exactly

_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_WHOLE: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_WORDS: Final = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


class Kind(Protocol):
    """One kind of value."""

    @property
    def expected(self) -> str:
        """What to write, to be put after "expected"."""
        ...

    def fit(self, found: object) -> Value | None:
        """A value of TOML's."""
        ...

    def parse(self, text: str) -> Value | None:
        """A text: from the environment, a command line, the store."""
        ...


@dataclass(frozen=True, slots=True)
class Seconds:
    """A time span, fractions allowed. `off`: what 0 means, where it means something of its own."""

    least: float = 0.0
    most: float = MONTH_S
    off: str = ""

    @property
    def expected(self) -> str:
        zero = f", or 0: {self.off}" if self.off else ""
        return f"seconds from {shown(self.least)} to {shown(self.most)}{zero}"

    def fit(self, found: object) -> float | None:
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            return None
        return round(float(found), DIGITS) if self.least <= found <= self.most or (self.off and found == 0) else None

    def parse(self, text: str) -> float | None:
        return self.fit(float(text)) if _NUMBER.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole."""

    expected: str = "a number from 0 to 1"

    def fit(self, found: object) -> float | None:
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        return round(float(found), DIGITS) if 0 <= found <= 1 else None

    def parse(self, text: str) -> float | None:
        return self.fit(float(text)) if _NUMBER.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Whole:
    """A count, or a size in `unit`."""

    least: int = 0
    most: int = 1_000_000
    unit: str = ""
    off: str = ""

    @property
    def expected(self) -> str:
        zero = f", or 0: {self.off}" if self.off else ""
        return f"a whole number{f' of {self.unit}' if self.unit else ''} from {self.least} to {self.most}{zero}"

    def fit(self, found: object) -> int | None:
        if isinstance(found, bool) or not isinstance(found, int):
            return None
        return found if self.least <= found <= self.most or (self.off and found == 0) else None

    def parse(self, text: str) -> int | None:
        return self.fit(int(text)) if _WHOLE.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Flag:
    """On or off."""

    expected: str = "true or false"

    def fit(self, found: object) -> bool | None:
        return found if isinstance(found, bool) else None

    def parse(self, text: str) -> bool | None:
        return _WORDS.get(text.lower())


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    words: Sequence[str]

    @property
    def expected(self) -> str:
        return " or ".join(f'"{word}"' for word in self.words)

    def fit(self, found: object) -> str | None:
        return self.parse(found) if isinstance(found, str) else None

    def parse(self, text: str) -> str | None:
        return text if text in self.words else None


@dataclass(frozen=True, slots=True)
class SignalName:
    """A signal that a program can be asked to end with, by name: numbers differ between systems."""

    names: Collection[str] = (
        *("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"),
        *("SIGKILL", "SIGALRM", "SIGABRT"),  # each on Linux and macOS alike
    )

    @property
    def expected(self) -> str:
        return 'a signal by name, such as "SIGTERM", "SIGINT", "SIGQUIT"'

    def fit(self, found: object) -> str | None:
        return self.parse(found) if isinstance(found, str) else None

    def parse(self, text: str) -> str | None:
        name = text.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        return name if name in self.names else None


@dataclass(frozen=True, slots=True)
class Delays:
    """The name of a list of delays, or the list: seconds, the last one for ever."""

    names: Collection[str]
    most: float = DAY_S
    longest: int = 100

    @property
    def expected(self) -> str:
        names = " or ".join(f'"{name}"' for name in self.names)
        return f"{names}, or a list of up to {self.longest} delays in seconds"

    def fit(self, found: object) -> str | tuple[float, ...] | None:
        if isinstance(found, str):
            return found if found in self.names else None
        if not isinstance(found, list | tuple) or not 1 <= len(found) <= self.longest:
            return None
        each = Seconds(most=self.most)
        delays = [delay for item in found if (delay := each.fit(item)) is not None]
        return tuple(delays) if len(delays) == len(found) else None

    def parse(self, text: str) -> str | tuple[float, ...] | None:
        if text in self.names:
            return text
        pieces = [piece.strip() for piece in text.split(",")]
        return self.fit([float(piece) for piece in pieces]) if all(map(_NUMBER.fullmatch, pieces)) else None


@dataclass(frozen=True, slots=True)
class Text:
    """Anything on one line that `pattern` allows, up to `longest` characters."""

    expected: str
    pattern: str = r"[^\x00-\x1f\x7f]*"
    longest: int = 2000

    def fit(self, found: object) -> str | None:
        return self.parse(found) if isinstance(found, str) else None

    def parse(self, text: str) -> str | None:
        return text if len(text) <= self.longest and re.fullmatch(self.pattern, text) else None


def shown(value: Value) -> str:
    """A value as text, which its kind's `parse` reads back."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value).removesuffix(".0")
        case tuple():
            return ",".join(shown(item) for item in value)
        case _:
            return str(value)
