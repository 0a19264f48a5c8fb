"""Writes state until the disk is full, then makes room; says in JSON what it was told and what the state held.

Arguments: FOLDER HOW. HOW `limit`: the size of files is limited (setrlimit). HOW `filler`: FOLDER is a small file
system of its own, filled by a file, and the state is closed and opened while it is full.
"""

import asyncio
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from dynod.store.audit import Actor
from dynod.store.errors import StoreError
from dynod.store.store import Store

ME = Actor(name="me", origin="toy")
MOST = 10_000


def names(store: Store) -> list[str]:
    async def work() -> list[str]:
        return [app.name for app in await store.apps.all()]

    return asyncio.run(work())


def create(store: Store, name: str) -> None:
    async def work() -> None:
        await store.apps.create(name, by=ME, formation={"web": (1, "Unsized")})

    asyncio.run(work())


def refused(store: Store) -> tuple[list[str], str]:
    """Which apps were acknowledged until one was refused, and in which words."""
    acknowledged: list[str] = []
    while len(acknowledged) < MOST:
        name = f"app-{os.urandom(4).hex()}"
        try:
            create(store, name)
        except StoreError as error:
            return acknowledged, str(error)
        acknowledged.append(name)
    sys.exit("the disk was never full")


def fill(folder: Path) -> Callable[[], None]:
    filler = os.open(folder / "filler", os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        while True:
            os.write(filler, bytes(4096))
    except OSError:
        return lambda: os.ftruncate(filler, 0)


def limit() -> Callable[[], None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


folder, how = Path(sys.argv[1]), sys.argv[2]
store = Store.open(folder / "state")
create(store, "first")
make_room = fill(folder) if how == "filler" else limit()
acknowledged, said = refused(store)
again, said_again = refused(store)
while_full = names(store)
if how == "filler":
    store.close()
    store = Store.open(folder / "state")
after_restart = names(store)
make_room()
create(store, "last")
store.close()
store = Store.open(folder / "state")
report = {
    "acknowledged": sorted(["first", *acknowledged, *again]),
    "said": [said, said_again],
    "while_full": while_full,
    "after_restart": after_restart,
    "in_the_end": names(store),
}
store.close()
print(json.dumps(report))
