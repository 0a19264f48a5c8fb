"""The table of nftables that closes the ports of dynos to other machines, as text for nft(8). Pure.

    another machine ─► the router's port: as ever
                    └► a dyno's port: no connection begins

A program that binds 0.0.0.0, as Heroku's have to, is reached through the router alone then. Packets of loopback pass,
and so do those of this machine to an address of its own, which go the same way. Only beginnings of TCP connections are
dropped: what this machine itself has begun from such a port is answered, and no connection has to be tracked for it.
A table is its maker's: nobody else's rules are named, read or changed, and where they drop more, that stays so.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from dynod.core.ports import FIRST_PORT, LAST_PORT

TABLE: Final = "dynod"  # of the machine's own dynod
OPEN: Final = "other machines reach dynos past the router, where those bind 0.0.0.0"
_REFUSED: Final = re.compile(r"Operation not permitted|Permission denied", re.IGNORECASE)


def table_of(state: str, *, usual: str) -> str:
    """The table of the daemon with this state folder; beside the `usual` one's, others may run on this machine."""
    return TABLE if state == usual else f"{TABLE}-{hashlib.sha256(state.encode()).hexdigest()[:8]}"


def closed(table: str = TABLE, *, but: Iterable[int] = ()) -> str:
    """The whole table, in place of one that may be there. `but`: ports of dynod's own listeners in the dynos' range."""
    kept = sorted({port for port in but if FIRST_PORT <= port <= LAST_PORT})
    passing = f"\n        tcp dport {{ {', '.join(map(str, kept))} }} accept" if kept else ""
    return f"""\
# Made by dynod, for whom it is read as a whole: dynos are reached through the router, or from this machine.
table inet {table}
delete table inet {table}
table inet {table} {{
    chain dyno_ports {{
        type filter hook input priority filter; policy accept;{passing}
        iif != "lo" tcp dport {FIRST_PORT}-{LAST_PORT} tcp flags & (fin | syn | rst | ack) == syn counter drop
    }}
}}
"""


def opened(table: str = TABLE) -> str:
    """Words by which the table is removed."""
    return f"delete table inet {table}\n"


def why_open(said: str) -> str:
    """What nft(8) has said of a table that it did not take, as a sentence for the start and the status."""
    if _REFUSED.search(said):
        return f"{OPEN}: closing their ports is for root, or for dynod's own service"
    lines = [line for line in said.splitlines() if line.strip()]
    return f"{OPEN}: nft: {lines[0].strip() if lines else 'no reason given'}"


NOT_INSTALLED: Final = f"{OPEN}: nftables is not installed"
