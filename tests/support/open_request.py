"""A request that is under way: the router has read it, and it is not answered yet. A test decides what happens next."""

import contextlib
import http.client
import select
from pathlib import Path

from support.up import Up, eventually

TIMEOUT_S = 60.0


class OpenRequest:
    """GET of `path`. Made only once the router has read it, so that nothing depends on who is faster."""

    def __init__(self, up: Up, path: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=TIMEOUT_S)
        self._connection.request("GET", path)
        self._router = f"0100007F:{up.port:04X}"
        self._client = f"0100007F:{self._connection.sock.getsockname()[1]:04X}"
        eventually(self._is_read, what="the router has read the request")

    def _is_read(self) -> bool:
        """Accepted (it has an inode) and nothing left in its receive queue: proc(5), /proc/net/tcp."""
        for line in Path("/proc/net/tcp").read_text().splitlines():
            words = line.split()
            if words[1:3] == [self._router, self._client]:
                return words[4].endswith(":00000000") and words[9] != "0"
        return False

    @property
    def is_answered(self) -> bool:
        return bool(select.select([self._connection.sock], [], [], 0)[0])

    def answer(self) -> tuple[int, bytes]:
        """Waits for it. Raises OSError or HTTPException where there is none."""
        with contextlib.closing(self._connection):
            response = self._connection.getresponse()
            return response.status, response.read()
