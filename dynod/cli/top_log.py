"""The newest lines of an app's log for `dynod top`: followed by a thread, since the loop waits for keys.

Flow: log session of the API → **log tail** → view. A tail that is cut, because the core is being replaced, is for its
owner to begin again: it starts with the lines that were there, so that none is shown twice.
"""

import contextlib
import socket
import threading
import time
from collections import deque
from typing import Final

from dynod.cli import top_text
from dynod.core.log_reading import LineReader
from dynod.errors import DynodError
from dynod.platform_api.client import ApiClient

FIRST_LINES: Final = 500
KEPT: Final = 5000  # lines that a filter looks at


class LogTail:
    """Of one app, until it is closed."""

    def __init__(self, client: ApiClient, app: str) -> None:
        """Raises DynodError."""
        self.app = app
        self._client = client
        self._url = client.log_session(app, {"lines": FIRST_LINES, "tail": True})
        self._lines: deque[str] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._follow, name=f"log:{app}", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes."""
        return not self._thread.is_alive()

    def lines(self) -> list[str]:
        """The newest, oldest first."""
        with self._lock:
            return list(self._lines)

    def close(self) -> None:
        """The thread ends as soon as it is told that there is nothing more to read; nobody waits for that."""
        self._is_closed = True
        if self._connection is not None:
            _cut(self._connection)

    def _follow(self) -> None:
        reader, half = LineReader(), b""
        with contextlib.suppress(DynodError):  # the owner sees that it has ended, and asks anew
            for data in self._client.stream(self._url, opened=self._opened):
                whole, newline, half = (half + data).rpartition(b"\n")
                batches, _unreadable = reader.batches(whole + newline)
                shown = [line for batch in batches for line in top_text.log_lines(batch, _stamp)]
                with self._lock:
                    self._lines.extend(shown)

    def _opened(self, connection: socket.socket) -> None:
        self._connection = connection
        if self._is_closed:
            _cut(connection)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


def _stamp(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
