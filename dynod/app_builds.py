"""The builds of apps: an uploaded source becomes a slug as it is, and a release is made of it. No buildpack is run yet.

Flow: platform_api → **app builds** → archives, store, then whoever makes releases. What is said of a build is in its
output, which can be followed while it grows. May import operations, the slugs, builds, store, core.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from dynod.app_folder import read_process_types
from dynod.app_slugs import AppSlugs, in_thread
from dynod.builds.archives import Archives
from dynod.core.build import Build, shown_version
from dynod.core.slug import NewSlug, Slug
from dynod.errors import DynodError
from dynod.operations import NotFoundError, Operations
from dynod.store.audit import actor
from dynod.store.store import Store

OUTPUT_BYTES: Final = 64 * 1024  # read at a time
LONGEST_VERSION: Final = 200  # characters

Deploy = Callable[[Slug, Path, str, str], Awaitable[int]]
# ^ make a release of a slug, its code, a description, on behalf of somebody; returns its version. Raises DynodError.


class AppBuilds:
    """Every build of every app of the daemon."""

    def __init__(
        self,
        operations: Operations,
        store: Store,
        *,
        slugs: AppSlugs,
        archives: Archives,
        outputs: Path,
        deploy: Deploy,
        group: asyncio.TaskGroup,
    ) -> None:
        """`outputs`: the folder of the builds' output. Builds under way are tasks of `group`."""
        self._operations = operations
        self._store = store
        self._slugs = slugs
        self._archives = archives
        self._outputs = outputs
        self._deploy = deploy
        self._group = group
        self._growing: dict[str, asyncio.Event] = {}  # set, and replaced, when a build has said something
        self._tasks: set[asyncio.Task[None]] = set()

    async def resume(self) -> None:
        """What an earlier core was at has failed: its source may be half read. Raises StoreError."""
        for build in await self._store.builds.abandon():
            self._say(build, " !     dynod was restarted meanwhile: start the build again")

    async def close(self) -> None:
        """Builds under way end as failed with the next core."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def create(self, ref: str, source_id: str, version: str | None, *, by: str) -> Build:
        """Build a source that was uploaded; returns once it has begun. Raises NotFoundError, StoreError."""
        app = self._operations.find(ref)
        self._slugs.source(source_id)
        build = await self._store.builds.add(app.id, version, by=actor(by))
        app.journal.api(f"Build started by user {by}")
        self._growing[build.id] = asyncio.Event()
        task = self._group.create_task(self._run(build, source_id, by), name=f"build:{build.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return build

    async def of(self, ref: str) -> tuple[Build, ...]:
        """The app's builds, newest first. Raises NotFoundError."""
        return await self._store.builds.of(self._operations.find(ref).id)

    async def info(self, ref: str, build_id: str) -> Build:
        """One build. Raises NotFoundError."""
        for build in await self.of(ref):
            if build.id == build_id:
                return build
        raise NotFoundError("Couldn't find that build.", "build")

    async def output(self, build_id: str) -> AsyncIterator[bytes]:
        """What a build has said, and what it goes on to say, until it is over."""
        path = self._outputs / build_id
        offset = 0
        while True:
            growing = self._growing.get(build_id)  # before reading: what comes after it sets this one
            while data := await in_thread(lambda: _read(path, offset)):  # noqa: B023 (it is awaited at once)
                offset += len(data)
                yield data
            if growing is None:
                return
            await growing.wait()

    async def forget(self, build_ids: list[str]) -> None:
        """Outputs of an app that is no more."""
        for build_id in build_ids:
            await in_thread(lambda: (self._outputs / build_id).unlink(missing_ok=True))  # noqa: B023 (awaited at once)

    # --- one build --------------------------------------------------------------------------------------------------

    async def _run(self, build: Build, source_id: str, by: str) -> None:
        """The boundary of a build: whatever is wrong with its source is said in its output, and fails it."""
        app = self._operations.find(build.app_id)
        try:
            slug, version = await self._build(build, source_id, by)
        except DynodError as error:
            for line in str(error).splitlines():
                self._say(build, f" !     {line}")
            self._say(build, " !     Push failed")
            await self._store.builds.settle(build.id)
            app.journal.api("Build failed -- check your build output: dynod builds:output " + build.id)
        else:
            await self._store.builds.settle(build.id, slug_id=slug.id, release_version=version)
            app.journal.api("Build succeeded")
        finally:
            growing = self._growing.pop(build.id)
            growing.set()
        await in_thread(lambda: self._archives.remove_source(source_id))
        await self._slugs.collect(build.app_id)

    async def _build(self, build: Build, source_id: str, by: str) -> tuple[Slug, int]:
        self._say(build, "-----> Building from the source as it is: no buildpack is run")
        received = await in_thread(lambda: self._archives.adopt_source(source_id))
        folder = await self._slugs.unpacked(received.checksum)
        self._say(build, "-----> Discovering process types")
        types = await in_thread(lambda: read_process_types(folder))
        self._say(build, f"       Procfile declares types -> {', '.join(types)}")
        new = NewSlug(
            process_types=types,
            stack="host",
            commit=build.source_version,
            checksum=received.checksum,
            size=received.size,
        )
        slug = await self._store.slugs.add(build.app_id, new, by=actor(by))
        self._say(build, f"-----> Compressing...\n       Done: {received.size / 1024**2:.1f}M")
        self._say(build, "-----> Launching...")
        version = await self._deploy(slug, folder, f"Deploy {shown_version(build.source_version or slug.id[:8])}", by)
        app = self._operations.app(build.app_id)
        self._say(build, f"       Released v{version}\n       {app.web_url}")
        return slug, version

    def _say(self, build: Build, text: str) -> None:
        """A few lines in all: written where it stands."""
        self._outputs.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._outputs / build.id, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, f"{text}\n".encode("utf-8", "backslashreplace"))
        finally:
            os.close(descriptor)
        growing = self._growing.get(build.id)
        if growing is not None:
            self._growing[build.id] = asyncio.Event()
            growing.set()


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(OUTPUT_BYTES)
    except FileNotFoundError:
        return b""
