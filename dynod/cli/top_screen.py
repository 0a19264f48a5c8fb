"""The terminal of `dynod top`: another screen, keys one by one, and everything as it was found afterwards.

Flow: bytes of the terminal → **keys** → view; frame → **screen**. What ends the process, and Ctrl-Z, give the terminal
back first.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from types import FrameType
from typing import Final

from dynod.cli.top_view import Frame

# Another screen, no cursor, and lines that are too long cut instead of wrapped; and back.
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME, CLEAR, CLEAR_LINE = "\x1b[H", "\x1b[2J", "\x1b[K"
REVERSE, PLAIN = "\x1b[7m", "\x1b[0m"
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
        self._woken, self._wakes = os.pipe()
        for end in (self._woken, self._wakes):
            os.set_blocking(end, False)

    @property
    def size(self) -> os.terminal_size:
        """Columns and lines."""
        return shutil.get_terminal_size()

    def draw(self, frame: Frame) -> None:
        """All of it, over what is there."""
        lines = [
            f"{REVERSE}{line}{PLAIN}{CLEAR_LINE}" if number == frame.marked else line + CLEAR_LINE
            for number, line in enumerate(frame.lines)
        ]
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.buffer.write((HOME + "\r\n".join(lines)).encode(encoding, "replace"))
        sys.stdout.buffer.flush()

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
        return keys(data.decode("utf-8", "replace")) if data else None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """As long as this is."""
        handlers = {
            signal.SIGTERM: self._end,
            signal.SIGHUP: self._end,
            signal.SIGTSTP: self._stop,
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
        self._take()
        self._resize(number, None)

    def _resize(self, _number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wakes, b"\0")

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
