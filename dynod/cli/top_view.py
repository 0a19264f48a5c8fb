"""What `dynod top` shows at one moment, and what a key does to that: no terminal, no clock, no daemon.

Flow: keys → **view** → an act for whoever talks to the daemon; looks and log lines → **view** → a frame of lines. Each
change asks first, and the answer is about what the question named, whatever has changed in the table meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from dynod.cli.top_text import Look, Tone
from dynod.platform_api.schema import Stats

UP: Final = frozenset({"up", "k"})
DOWN: Final = frozenset({"down", "j"})
YES: Final = frozenset({"y", "Y"})
LEAVE: Final = frozenset({"q", "ctrl-c", "ctrl-d"})
CHANGES: Final = frozenset({"r", "+", "-", "m", "b"})
# What can be done without comes last: a terminal of 80 columns shows no more.
FOOT: Final = "q quit  ? help  ↑↓ choose  r restart  + - scale  / filter log  m maintenance  b roll back  a all apps"
APPS_FOOT: Final = "q quit  ? help  ↑↓ choose  Enter open"
HELP: Final = (
    "↑ ↓  k j     choose a dyno, or an app",
    "PgUp PgDn    ten rows at once; Home, End: the first and the last",
    "Enter        all apps: open the chosen one",
    "a  Esc       back to all apps",
    "r            restart the chosen dyno",
    "+ -          one more, or one less, of its process type",
    "m            maintenance mode on or off",
    "b            roll back to the release before",
    "/            show only log lines with a text in them; Enter alone shows all again",
    "l            log on or off",
    "Ctrl-L       draw the screen anew",
    "q  Ctrl-C    quit",
    "",
    "Whatever changes something asks first: y does it, any other key does not.",
)
LEAST_ROWS: Final = 3  # of the table, that stay beside the log
PAGE: Final = 10
LONGEST_FILTER: Final = 200


class Do(Enum):
    """What is to be done outside of the view."""

    QUIT = auto()
    OPEN = auto()  # the app of that name
    OVERVIEW = auto()
    REDRAW = auto()
    FIND_RELEASE = auto()  # to roll back to, and then `ask`
    RESTART = auto()
    SCALE = auto()
    MAINTENANCE = auto()
    ROLL_BACK = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """`app` is its name; `subject` the dyno, process type or release's id; `value` the quantity, or on and off."""

    do: Do
    app: str = ""
    subject: str = ""
    value: str = ""
    said: str = ""  # once it is done


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Lines of a screen; `marked` is the number of the one that is chosen. `tones`: of lines, by their numbers."""

    lines: tuple[str, ...]
    marked: int | None
    tones: Mapping[int, Tone] = field(default_factory=dict)


@dataclass(slots=True)
class View:
    """Mutable: owned by the loop. `app` is the open one, None where all are shown."""

    app: str | None
    chosen: str = ""  # the name of a row
    says: str = ""  # until the next key
    trouble: str = ""  # why what is shown is not what there is now; as long as it is so
    text: str = ""  # of the log's filter
    typed: str | None = None  # of a filter that is being typed
    question: tuple[Act, str] | None = None
    helps: bool = False
    shows_log: bool = True
    _row: int = field(default=0)

    def ask(self, act: Act, question: str) -> None:
        """Do that once somebody has said y."""
        self.question = (act, f"{question} y/n")

    def go_to(self, app: str | None) -> None:
        """Another app, or all."""
        self.app, self.chosen, self._row, self.says, self.trouble = app, "", 0, "", ""

    def press(self, key: str, stats: Sequence[Stats]) -> Act | None:
        """A key; `stats` are those shown: of the open app, or of all."""
        self.says = ""
        if self.question is not None:
            (act, _), self.question = self.question, None
            return act if key in YES else Act(do=Do.QUIT) if key == "ctrl-c" else None
        if self.typed is not None:
            return self._type(self.typed, key)
        if self.helps:
            self.helps = False
            return Act(do=Do.QUIT) if key in LEAVE else None
        if key in LEAVE:
            return Act(do=Do.QUIT)
        if key in {"?", "h"}:
            self.helps = True
        elif key == "ctrl-l":
            return Act(do=Do.REDRAW)
        elif key in UP | DOWN | {"page-up", "page-down", "home", "end"}:
            self._move(key, stats)
        elif self.app is None:
            return Act(do=Do.OPEN, app=self.chosen) if key in {"enter", "right"} and self.chosen else None
        elif key in {"a", "escape", "left"}:
            return Act(do=Do.OVERVIEW)
        elif key == "/":
            self.typed, self.shows_log = self.text, True
        elif key == "l":
            self.shows_log = not self.shows_log
        elif key in CHANGES and stats:
            return self._change(key, self.app, stats[0])
        return None

    def frame(self, look: Look, log: Sequence[str], *, width: int, height: int) -> Frame:
        """What the terminal shows. `log` are the lines of the open app, oldest first, filtered or not."""
        if self.helps:
            return Frame(
                lines=_cut([*HELP[: height - 1], *[""] * (height - 1 - len(HELP)), "any key"], width), marked=None
            )
        self._choose(look.names)
        top = [*look.head, "", look.titles]
        room = max(1, height - len(top) - 1)  # the last line is the foot
        with_log = self.app is not None and self.shows_log and room > LEAST_ROWS + 2
        rows_room = min(len(look.rows), max(LEAST_ROWS, (room - 2) // 2)) if with_log else min(len(look.rows), room)
        first = max(0, min(self._row - rows_room // 2, len(look.rows) - rows_room))
        lines = [*top, *look.rows[first : first + rows_room]]
        if with_log:
            shown = [line for line in log if self.text in line]
            left = room - rows_room - 2
            title = f'log, with "{self.text}"' if self.text else "log"
            lines += ["", f"── {title} ".ljust(width, "─"), *shown[-left:]]
        lines = lines[: height - 1]
        lines += [""] * (height - 1 - len(lines))
        marked: int | None = len(top) + self._row - first
        if not look.rows or len(top) + self._row - first >= height - 1:  # a terminal of a few lines
            marked = None
        tones = {
            number: tone
            for number, tone in enumerate(look.tones[first : first + rows_room], len(top))
            if number < height - 1
        }
        if self.question is not None or (self.trouble and self.typed is None):
            tones[height - 1] = Tone.ASK if self.question is not None else Tone.BAD
        return Frame(lines=_cut([*lines, self._foot()], width), marked=marked, tones=tones)

    def _foot(self) -> str:
        if self.question is not None:
            return self.question[1]
        if self.typed is not None:
            return f"/{self.typed}▏"
        return self.trouble or self.says or (APPS_FOOT if self.app is None else FOOT)

    def _type(self, typed: str, key: str) -> Act | None:
        match key:
            case "enter":
                self.text, self.typed = typed, None
            case "escape":
                self.typed = None
            case "ctrl-c":
                return Act(do=Do.QUIT)
            case "backspace":
                self.typed = typed[:-1] if typed else None  # as in `less`
            case "ctrl-u":
                self.typed = ""
            case "ctrl-w":
                self.typed = typed.rstrip().rpartition(" ")[0]
            case _ if len(key) == 1 and key.isprintable() and len(typed) < LONGEST_FILTER:
                self.typed = typed + key
        return None

    def _move(self, key: str, stats: Sequence[Stats]) -> None:
        names = self._names(stats)
        self._choose(names)
        if not names:
            return
        steps = {"page-up": -PAGE, "page-down": PAGE, "home": -len(names), "end": len(names)}
        step = -1 if key in UP else 1 if key in DOWN else steps[key]
        self._row = max(0, min(self._row + step, len(names) - 1))
        self.chosen = names[self._row]

    def _choose(self, names: Sequence[str]) -> None:
        """The row that was chosen, wherever it is now; where it is gone, the one in its place."""
        if self.chosen in names:
            self._row = names.index(self.chosen)
        else:
            self._row = max(0, min(self._row, len(names) - 1))
            self.chosen = names[self._row] if names else ""

    def _names(self, stats: Sequence[Stats]) -> list[str]:
        if self.app is None:
            return [each["app"]["name"] for each in stats]
        return [dyno["name"] for each in stats for dyno in each["dynos"]]

    def _change(self, key: str, app: str, stats: Stats) -> Act | None:
        if key == "m":
            word = "off" if stats["maintenance"] else "on"
            self.ask(
                Act(do=Do.MAINTENANCE, app=app, value=word, said=f"Maintenance mode is {word}"),
                f"Switch maintenance mode of {app} {word}?",
            )
            return None
        if key == "b":
            return Act(do=Do.FIND_RELEASE, app=app)
        self._choose(self._names([stats]))
        dyno = next((each for each in stats["dynos"] if each["name"] == self.chosen), None)
        if dyno is None:
            return None
        if key == "r":
            name = dyno["name"]
            self.ask(Act(do=Do.RESTART, app=app, subject=name, said=f"Restarting {name}"), f"Restart {name}?")
            return None
        kind = dyno["type"]
        if kind not in stats["formation"]:
            self.says = f"{dyno['name']} is no dyno of the formation"
            return None
        count = max(0, stats["formation"][kind] + (1 if key == "+" else -1))
        self.ask(
            Act(do=Do.SCALE, app=app, subject=kind, value=str(count), said=f"Scaling {kind} to {count}"),
            f"Scale {kind} to {count}?",
        )
        return None


def _cut(lines: Sequence[str], width: int) -> tuple[str, ...]:
    return tuple(line[:width] for line in lines)
