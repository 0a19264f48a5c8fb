"""systemd's notify protocol (sd_notify(3)): datagrams of NAME=value lines to NOTIFY_SOCKET."""

import contextlib
import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """Sends to systemd, or does nothing where there is none. Its variables leave `environ`: no child has them."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        interval = environ.pop("WATCHDOG_USEC", "")
        for_pid = environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        watched = address and interval.isdecimal() and int(interval) > 0 and for_pid in {"", str(os.getpid())}
        self.watchdog_s: float | None = int(interval) / 2_000_000 if watched else None  # half, as sd_watchdog advises

    def send(self, text: str) -> None:
        """Tell systemd; a service manager that is gone or busy must not stop the keeper."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(), socket.MSG_DONTWAIT, self._address)
