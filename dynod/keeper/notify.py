"""systemd's notify protocol (sd_notify(3)): datagrams of NAME=value lines to NOTIFY_SOCKET, some with descriptors."""

import array
import contextlib
import os
import socket
from collections.abc import MutableMapping, Sequence


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

    @classmethod
    def at(cls, address: str, watchdog_s: float | None) -> "Notifier":
        """As another keeper of this process had it."""
        found = cls({"NOTIFY_SOCKET": address} if address else {})
        found.watchdog_s = watchdog_s
        return found

    @property
    def address(self) -> tuple[str, float | None]:
        """What `at` is to be given."""
        return f"@{self._address[1:]}" if self._address.startswith("\0") else self._address, self.watchdog_s

    @property
    def is_heard(self) -> bool:
        """Whether a service manager has started this process and listens to it."""
        return self._socket is not None

    def send(self, text: str, fds: Sequence[int] = ()) -> None:
        """Tell systemd; a service manager that is gone or busy must not stop the keeper."""
        if self._socket is not None:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            with contextlib.suppress(OSError):
                self._socket.sendmsg([text.encode()], ancillary, socket.MSG_DONTWAIT, self._address)

    def keep(self, name: str, fds: Sequence[int]) -> None:
        """Have systemd keep these for the next keeper, in place of those it had under the name.

        FDPOLL=0: a socket that only listens has no end which systemd should look for.
        """
        self.drop(name)
        if fds:
            self.send(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", fds)

    def drop(self, name: str) -> None:
        """Have systemd close what `keep` gave it."""
        self.send(f"FDSTOREREMOVE=1\nFDNAME={name}")
