"""Which user's program is at the other end of a TCP connection, where that is one of this machine's.

For the dashboard's one-time code, which other users can read in the list of processes while a browser starts with it.
Linux lists its connections with their users in /proc/net/tcp (proc_net(5)), which everybody may read. Standard library
alone.
"""

import contextlib
import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NOBODY: Final = -1  # has closed its end already: there is nobody whom an answer would reach
TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_WORD: Final = 4  # bytes; each is written as the number that it is on this machine


def user_of(peer: tuple[str, int], own: tuple[str, int]) -> int | None:
    """The user of the socket at `peer`, which is connected to ours at `own`.

    None where that is not known: it is another machine's, or another network namespace's, or this is not Linux.
    """
    wanted = [(_shown(mine), _shown(theirs)) for mine, theirs in zip(_forms(*peer), _forms(*own), strict=False)]
    for table in TABLES:
        with contextlib.suppress(OSError), Path(table).open(encoding="ascii") as rows:
            for row in rows:
                _, local, remote, _, _, _, _, user, _, inode, *_ = [*row.split(), *[""] * 10]
                if (local, remote) in wanted:
                    return int(user) if inode != "0" else NOBODY
    return None


def _forms(host: str, port: int) -> Iterator[tuple[bytes, int]]:
    """How a socket may have it: an IPv4 address is that of an IPv6 socket, too."""
    address = ipaddress.ip_address(host.partition("%")[0])
    plain = getattr(address, "ipv4_mapped", None) or address
    yield plain.packed, port
    if plain.version == 4:  # noqa: PLR2004 (IPv4)
        yield b"\0" * 10 + b"\xff" * 2 + plain.packed, port


def _shown(end: tuple[bytes, int]) -> str:
    packed, port = end
    words = (packed[at : at + _WORD] for at in range(0, len(packed), _WORD))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"
