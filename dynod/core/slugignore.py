"""`.slugignore`: what of a source is no part of its build. Pure: text in, an answer for each path out.

Lines as in `.gitignore` without negation, as on Heroku; taken out before any buildpack runs, so that ignored files are
invisible to the build too (heroku-semantics 9.4). Sources: gitignore(5), "PATTERN FORMAT".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dynod.core.fault import Fault, quoted

FILE: Final = ".slugignore"
MOST_PATTERNS: Final = 10_000
_TRAILING_BLANKS: Final = re.compile(r"(?<!\\)[ \t]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    pattern: re.Pattern[str]  # of a whole path
    folders_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SlugIgnore:
    """What a file says; `faults` are lines that mean nothing here."""

    rules: Sequence[_Rule] = ()
    faults: Sequence[Fault] = ()

    def ignores(self, place: str, *, is_folder: bool) -> bool:
        """Whether this path, relative to the source and without a slash in front, is left out, with all below it.

        Ask from the top down: what is below an ignored folder is not asked for.
        """
        return any(rule.pattern.fullmatch(place) for rule in self.rules if is_folder or not rule.folders_only)


def parse_slugignore(text: str) -> SlugIgnore:
    """Read a whole file. Never raises."""
    rules: list[_Rule] = []
    faults: list[Fault] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = _TRAILING_BLANKS.sub("", raw)
        if not line or line.startswith("#"):
            continue
        if line.startswith("!"):
            message = f"{quoted(line)} is left out: nothing can be taken back here, as on Heroku"
            faults.append(Fault(file=FILE, line=number, message=message))
        elif len(rules) == MOST_PATTERNS:
            faults.append(Fault(file=FILE, line=number, message=f"more than {MOST_PATTERNS:,} patterns"))
            break
        elif (rule := _rule(line)) is not None:
            rules.append(rule)
    return SlugIgnore(rules=tuple(rules), faults=tuple(faults))


def _rule(line: str) -> _Rule | None:
    folders_only = line.endswith("/")
    pattern = line.rstrip("/") if folders_only else line
    is_anchored = "/" in pattern
    pattern = pattern.removeprefix("/")
    if not pattern:
        return None
    expression = _expression(pattern)
    if not is_anchored:
        expression = f"(?:.*/)?{expression}"
    try:
        return _Rule(pattern=re.compile(expression, re.DOTALL), folders_only=folders_only)
    except re.error:  # a range such as [z-a]: git matches nothing by it
        return None


def _expression(pattern: str) -> str:
    found: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            found.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("/**", at) and at + 3 == len(pattern):
            found.append("/.*")
            at += 3
        elif pattern[at] == "*":
            while at < len(pattern) and pattern[at] == "*":
                at += 1
            found.append("[^/]*")
        elif pattern[at] == "?":
            found.append("[^/]")
            at += 1
        elif pattern[at] == "[" and (end := _end_of_class(pattern, at)) is not None:
            inside = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            negated = inside[:1] in {"!", "^"}
            inside = inside[1:] if negated else inside
            inside = inside.replace("&&", "&\\&").replace("||", "|\\|").replace("~~", "~\\~").replace("--", "-\\-")
            found.append(f"(?!/)[{'^' if negated else ''}{inside}]")
            at = end + 1
        else:
            if pattern[at] == "\\" and at + 1 < len(pattern):
                at += 1
            found.append(re.escape(pattern[at]))
            at += 1
    return "".join(found)


def _end_of_class(pattern: str, at: int) -> int | None:
    first = at + 2 if pattern[at + 1 : at + 2] in {"!", "^"} else at + 1
    end = pattern.find("]", first + 1)
    return end if end > first else None
