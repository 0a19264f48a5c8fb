"""A fault: one thing wrong in a file that a person wrote, with the place to look at.

The grammars of the app folder (`procfile`, `dotenv`, `app_manifest`) return faults beside what they could read, so that
every problem is shown at once. What a fault means (refuse, warn) is decided by who asked: `app_folder`, later a build.
Imports nothing of dynod.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong (`message`) and where: `file` as the user named it, `line` from 1, or None for the whole file."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file} line {self.line}"
        return f"{place}: {self.message}"


LONGEST_EXCERPT = 60  # characters of the user's own text repeated in a message


def quoted(text: str) -> str:
    """The user's text in double quotes, shortened; what cannot be seen (controls, odd blanks) is escaped."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode("ascii")
        for char in text
    )
    if len(shown) > LONGEST_EXCERPT:
        shown = shown[: LONGEST_EXCERPT - 1] + "…"
    return f'"{shown}"'
