"""Changes the state without end, by several tasks at once, and says each change when it is acknowledged.

Arguments: FOLDER WRITERS. Writer W has the app `writer-W`, made by its step 0. Step N sets two quantities to N, or two
settings to N, by turns; each step is one transaction with one entry of the audit trail. Says `W N` after it.
"""

import asyncio
import os
import sys
from pathlib import Path

from dynod.store.audit import Actor
from dynod.store.store import Store


async def write(store: Store, writer: int) -> None:
    app = await store.apps.find(f"writer-{writer}")
    if app is None:
        app = await store.apps.create(f"writer-{writer}", by=Actor(name="step 0", origin="toy"))
    number = len(await store.audit.newest(limit=10**9, app_id=app.id)) - 1
    while True:
        number += 1
        by = Actor(name=f"step {number}", origin="toy")
        if number % 2:
            await store.settings.change(app.id, {"grace_s": str(number), "web.grace_s": str(number)}, by=by)
        else:
            await store.formation.set(app.id, {"web": (number, "Unsized"), "worker": (number, "Basic")}, by=by)
        os.write(1, f"{writer} {number}\n".encode())


async def main(folder: Path, writers: int) -> None:
    store = Store.open(folder)
    async with asyncio.TaskGroup() as group:
        for writer in range(writers):
            group.create_task(write(store, writer))


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
