"""git of apps: pushes, fetches and clones, each served by a git of its own on the connection that asked for it.

Flow: platform_api → **app git** → git → its hook, which brings the source to the builds as anybody else does
(`cli/push_hook`). git has the connection itself: it goes on where the core is replaced meanwhile. May import
operations, builds, core.
"""

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Final

from dynod.app_slugs import in_thread
from dynod.builds.repositories import SAID_BYTES, Repositories
from dynod.core.asker import origin_of
from dynod.errors import DynodError
from dynod.operations import AppView, Operations
from dynod.stderr import say

MOST_AT_ONCE: Final = 16
ENDING_S: Final = 5.0  # between asking a git to end and ending it


class TooManyError(DynodError):
    """Others are pushing or fetching."""

    code = "rate_limit"


class AppGit:
    """Every repository of the daemon's apps."""

    def __init__(self, operations: Operations, repositories: Repositories, *, control: Path) -> None:
        """`control`: the socket by which the hook finds back here."""
        self._operations = operations
        self._repositories = repositories
        self._control = control
        self._running = 0

    async def prepare(self, ref: str) -> tuple[AppView, Path]:
        """The app, and its repository. Raises NotFoundError, TooManyError, GitMissingError, DynodError."""
        app = self._operations.app(ref)
        if self._running >= MOST_AT_ONCE:
            raise TooManyError(f"{MOST_AT_ONCE} pushes and fetches are under way: try again later.")
        return app, await in_thread(lambda: self._repositories.prepare(app.id))

    async def serve(self, app: AppView, path: Path, service: str, connection: socket.socket, *, by: str) -> None:
        """Have git talk on this connection, on behalf of whoever asks, until it ends."""
        more = {
            "DYNOD_PUSH_APP": app.id,
            "DYNOD_PUSH_SOCKET": os.fspath(self._control.absolute()),
            "DYNOD_PUSH_USER": str(by),
            "DYNOD_PUSH_ORIGIN": origin_of(by),
        }
        said = path / "dynod-stderr"  # not a pipe: one without a reader would end a git that outlives this core
        self._running += 1
        try:
            with said.open("wb") as stderr:
                process = await asyncio.create_subprocess_exec(
                    *self._repositories.command(service, path),
                    stdin=connection.fileno(),
                    stdout=connection.fileno(),
                    stderr=stderr,
                    env=self._repositories.environment(more),
                    cwd=path,
                )
            try:
                status = await process.wait()
            finally:
                await _end(process)
        finally:
            self._running -= 1
        if status:
            words = (await in_thread(lambda: said.read_bytes()[-SAID_BYTES:])).decode(errors="replace").strip()
            say(f"{service} of {app.name} for {by} ended with status {status}: {words or 'without a word'}")

    async def forget(self, app_id: str) -> None:
        """The repository of an app that is no more."""
        await in_thread(lambda: self._repositories.remove(app_id))


async def _end(process: asyncio.subprocess.Process) -> None:
    """When the daemon ends before it; git removes what a push has brought so far."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDING_S):
                await process.wait()
                return
        process.kill()
        await process.wait()
