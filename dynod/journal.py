"""What happens to dynos, as entries of systemd's journal with fields: `journalctl -u dynod DYNOD_DYNO=web.1`.

Only where stderr leads to the journal, as under systemd: JOURNAL_STREAM says so (systemd.exec(5)). The native protocol
is one datagram of fields each. Never waits: what a journal that is busy does not take is counted, and said by the next.
"""

import os
import socket
from collections.abc import Mapping
from typing import Final

from dynod.core.losses import Lose, Loss, unheeded

SOCKET: Final = "/run/systemd/journal/socket"
INFO: Final = 6  # syslog(3)'s priorities
WARNING: Final = 4
STDERR: Final = 2


class Journal:
    """Owns its socket. Made by `open_journal`."""

    def __init__(self, path: str = SOCKET, *, lose: Lose = unheeded) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._path = path
        self._lose = lose
        self.dropped = 0

    def dyno(self, app: str, dyno: str, message: str) -> None:
        """What the dyno manager says about a dyno."""
        priority = WARNING if message.startswith("Error ") or message.endswith(" to crashed") else INFO
        fields = {"DYNOD_APP": app, "DYNOD_DYNO": dyno, "PRIORITY": str(priority)}
        if self.dropped:
            fields["DYNOD_DROPPED"] = str(self.dropped)
        if self._send(entry(f"{app} {dyno}: {message}", fields)):
            self.dropped = 0
        else:
            self.dropped += 1
            self._lose(Loss.JOURNAL_ENTRIES, 1)

    def close(self) -> None:
        """Nothing more is said."""
        self._socket.close()

    def _send(self, datagram: bytes) -> bool:
        try:
            self._socket.sendto(datagram, self._path)
        except OSError:
            return False
        return True


def open_journal(environ: Mapping[str, str], lose: Lose = unheeded) -> Journal | None:
    """The journal that stderr leads to; None where it leads elsewhere."""
    there = os.fstat(STDERR)
    return Journal(lose=lose) if environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}" else None


def entry(message: str, fields: Mapping[str, str]) -> bytes:
    """An entry of the native protocol: a value with line breaks follows its length, little endian, in eight bytes."""
    pieces = []
    for name, value in {"MESSAGE": message, "SYSLOG_IDENTIFIER": "dynod", **fields}.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            pieces.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            pieces.append(name.encode() + b"=" + data + b"\n")
    return b"".join(pieces)
