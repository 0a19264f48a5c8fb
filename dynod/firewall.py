"""The ports of dynos, closed to other machines while a daemon runs: `core/nftables`, told to the kernel by nft(8).

For the composition root of `serve`. Nothing is concluded from who dynod is: it is tried. Where dynod is the machine's
service its unit `dynod-firewall.service` has done it, with a right that the daemon itself is not given.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dynod.core.nftables import NOT_INSTALLED, closed, opened, why_open

BY_UNIT: Final = Path("/run/dynod-firewall")  # its RuntimeDirectory=, there for as long as it is active
NFT_S: Final = 10.0  # it takes milliseconds


class Firewall:
    """Of one daemon, made anew by each core."""

    def __init__(self, table: str, *, by_unit: Path = BY_UNIT) -> None:
        self._table = table
        self._by_unit = by_unit
        self._ours = False

    async def close(self, *, but: Iterable[int]) -> str | None:
        """Close them, or see that they are; else a sentence why they are not. `but`: ports that stay open.

        Again: what was lost is there again, since others may have flushed all tables meanwhile.
        """
        if self._by_unit.is_dir():
            return None
        said = await asyncio.to_thread(_nft, closed(self._table, but=but))
        self._ours = said is None
        return said

    async def forget(self) -> None:
        """Take away what an earlier daemon has left, which was killed, or asked for it."""
        if not self._by_unit.is_dir():
            await asyncio.to_thread(_nft, opened(self._table))

    async def open(self) -> None:
        """Leave nothing of it behind."""
        if self._ours:
            self._ours = False
            await asyncio.to_thread(_nft, opened(self._table))


def _nft(rules: str) -> str | None:
    """Why the rules were not taken; all of them are, or none."""
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if nft is None:
        return NOT_INSTALLED
    try:
        ended = subprocess.run(  # noqa: S603 (rules of our own)
            [nft, "-f", "-"], input=rules, capture_output=True, text=True, errors="replace", timeout=NFT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return why_open(str(error))
    return None if ended.returncode == 0 else why_open(ended.stderr)
