"""The terminal of `dynod top`: another screen, keys one by one, and everything as it was found afterwards.

Flow: bytes of the terminal → **keys** → view; frame → **screen**. What ends the process, and Ctrl-Z, give the terminal
back first. Written to by write(2) alone: a signal's handler may come while something is being written, which Python's
own buffers do not take.
"""

import contextlib
import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from types import FrameType
from typing import Final

from dynod.cli.terminal import wants_colour
from dynod.cli.top_text import Tone
from dynod.cli.top_view import Frame

# Another screen, no cursor, and lines that are too long cut instead of wrapped; and back.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, CLEAR, CLEAR_LINE = "\x1b[H", "\x1b[2J", "\x1b[K"
REVERSE, PLAIN = "\x1b[7m", "\x1b[0m"
COLOURS: Final = {Tone.BAD: "\x1b[31m", Tone.WARN: "\x1b[33m", Tone.QUIET: "\x1b[2m", Tone.ASK: "\x1b[1m"}
SIZE: Final = os.terminal_size((80, 24))  # of a terminal that does not know its own
# For terminals whose character set has none of these; whatever else it lacks is a question mark.
PLAINER: Final = str.maketrans(dict(zip("▁▂▃▄▅▆▇█─▏↑↓·", "__.-=+*#-_^v.", strict=True)))
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)|[\s\S]")
NAMES: Final = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1b[5~": "page-up",
    "\x1b[6~": "page-down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
    "\x1b[4~": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x03": "ctrl-c",
    "\x04": "ctrl-d",
    "\x0c": "ctrl-l",
    "\x15": "ctrl-u",
    "\x17": "ctrl-w",
}
READ_BYTES: Final = 1024
ENDED_BY: Final = 128  # and the number of the signal, as shells have it


def keys(data: str) -> list[str]:
    """What was pressed, by name where it is no character. A sequence that is not known is none."""
    found = [NAMES.get(each, each) for each in _SEQUENCE.findall(data)]
    return [key for key in found if not key.startswith("\x1b")]


class Screen:
    """Of a terminal that is stdin and stdout."""

    def __init__(self) -> None:
        self._found = termios.tcgetattr(0)
        self._colour = wants_colour(sys.stdout)
        self._encoding = sys.stdout.encoding or "utf-8"
        self._woken, self._wakes = os.pipe()
        for end in (self._woken, self._wakes):
            os.set_blocking(end, False)

    @property
    def size(self) -> os.terminal_size:
        """Columns and lines, as they are now, whatever the environment says that they were."""
        try:
            found = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return SIZE
        return found if all(found) else SIZE

    def draw(self, frame: Frame) -> None:
        """All of it, over what is there."""
        lines = []
        for number, line in enumerate(frame.lines):
            colour = COLOURS.get(frame.tones.get(number, Tone.PLAIN), "") if self._colour else ""
            begin = f"{REVERSE}{colour}" if number == frame.marked else colour
            lines.append(f"{begin}{line}{PLAIN}{CLEAR_LINE}" if begin else line + CLEAR_LINE)
        self._write(HOME + "\r\n".join(lines))

    def clear(self) -> None:
        """Whatever else has written on it."""
        self._write(CLEAR)

    def wait(self, seconds: float) -> list[str] | None:
        """Keys, as soon as there are some; none after that time, or where the size has changed; None: it is gone."""
        ready, _, _ = select.select([0, self._woken], [], [], max(0.0, seconds))
        if self._woken in ready:
            os.read(self._woken, READ_BYTES)
        if 0 not in ready:
            return []
        try:
            data = os.read(0, READ_BYTES)
        except OSError:  # EIO: the terminal has been closed
            return None
        return keys(data.decode(self._encoding, "replace")) if data else None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """As long as this is."""
        handlers = {
            signal.SIGTERM: self._end,
            signal.SIGHUP: self._end,
            signal.SIGQUIT: self._end,
            signal.SIGTSTP: self._stop,
            signal.SIGCONT: self._continue,
            signal.SIGWINCH: self._resize,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            self._take()
            yield
        except KeyboardInterrupt:
            pass
        finally:
            with contextlib.suppress(OSError, termios.error):  # a terminal that has been closed takes nothing back
                self._give_back()
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._woken)
            os.close(self._wakes)

    def _take(self) -> None:
        tty.setcbreak(0)
        self._write(ENTER + CLEAR)

    def _give_back(self) -> None:
        termios.tcsetattr(0, termios.TCSADRAIN, self._found)
        self._write(LEAVE)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        raise SystemExit(ENDED_BY + number)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its screen, and `fg` comes back to this one."""
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stop)  # here it has been continued

    def _continue(self, number: int, frame: FrameType | None) -> None:
        """After Ctrl-Z, or after a SIGSTOP of which nobody heard: somebody else has had the terminal meanwhile."""
        self._take()
        self._resize(number, frame)

    def _resize(self, _number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wakes, b"\0")

    def _write(self, text: str) -> None:
        try:
            data = text.encode(self._encoding)
        except UnicodeEncodeError:
            data = text.translate(PLAINER).encode(self._encoding, "replace")
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]
