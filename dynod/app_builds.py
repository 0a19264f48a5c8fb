"""The builds of apps: one at a time for an app, in the order in which they came; recorded, followed, and rebuilt.

Flow: platform_api → **app builds** → one build → whoever makes releases. A build goes on while the core is replaced:
what was asked for is noted with the keeper until it is settled, and the next core waits for the same processes.
May import operations, one_build, the slugs, store, core.
"""

import asyncio
import shutil
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

from dynod.app_slugs import in_thread
from dynod.core import build_text
from dynod.core.build import MOST_WAITING, Build
from dynod.core.release import current_of
from dynod.core.source_url import place_of
from dynod.errors import DynodError
from dynod.one_build import NOTE, Asked, BuildTools, carry_out, see_off
from dynod.operations import InvalidError, NotFoundError, Operations, RunningApp
from dynod.own_share import processors
from dynod.store.audit import actor
from dynod.store.errors import StoreError

STORE_RETRY_S: Final = 5.0  # a full disk: the outcome is written once there is room
LEAST_AT_ONCE: Final = 2  # builds of all apps together; more where there are many processors


class AppBuilds:
    """Every build of every app of the daemon. Each that is not over is a task of `group`."""

    def __init__(
        self,
        operations: Operations,
        tools: BuildTools,
        *,
        group: asyncio.TaskGroup,
    ) -> None:
        self._operations = operations
        self._tools = tools
        self._store = tools.store
        self._put = tools.put
        self._group = group
        self._turns: dict[str, asyncio.Lock] = {}  # by app
        self._free = asyncio.Semaphore(max(LEAST_AT_ONCE, processors() // 2))
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by build
        self._waiting: dict[str, list[Build]] = {}  # by app: those that are not over, oldest first

    async def resume(self, stored: Mapping[str, str], *, adopt: Callable[[], None]) -> None:
        """Go on with what an earlier core was at, as the keeper has it; what it has not has failed.

        `adopt` takes the processes over, whose lines come from then on. Raises StoreError.
        """
        pending = await self._store.builds.pending()
        for build in pending:
            self._tools.output.begin(build)
        adopt()
        for build in pending:
            note = stored.get(NOTE + build.id)
            if note is not None:
                self._begin(build, Asked.from_note(note), self._operations.find(build.app_id))
            else:
                self._tools.output.end(build)
                said = build_text.error("dynod was restarted meanwhile: start the build again") + build_text.PUSH_FAILED
                await self._tools.output.say(build, said)
                await self._store.builds.settle(build.id)
        for key in stored:
            if key.startswith(NOTE) and key.removeprefix(NOTE) not in self._tasks:
                self._put(key, None)  # it was settled, and then its core was killed
        for build_id in self._tools.processes.known - self._tasks.keys():
            self._group.create_task(self._see_off(build_id), name=f"build:{build_id}")
        await self.sweep()

    async def close(self) -> None:
        """Dynod ends: what is under way is ended, and has failed when it starts again."""
        for build_id, task in self._tasks.items():
            self._tools.processes.stop(build_id, grace_s=0.0)
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def create(
        self, ref: str, source_id: str, version: str | None, *, by: str, checksum: str | None = None
    ) -> Build:
        """Build a source that was uploaded; returns once that is recorded. `checksum`: `SHA256:…` that it has to have.

        Raises NotFoundError, InvalidError, StoreError.
        """
        self._operations.find(ref)
        self._tools.slugs.source(source_id)
        return await self._create(ref, Asked(source_id=source_id, by=by, checksum=checksum), version)

    async def create_from(
        self, ref: str, url: str, version: str | None, *, by: str, checksum: str | None = None
    ) -> Build:
        """Build a source that is to be fetched first; returns once that is recorded. `checksum`: as above.

        Raises NotFoundError, InvalidError, SourceUrlError, StoreError.
        """
        place_of(url, private=self._tools.builds.private_sources)
        asked = Asked(source_id=str(uuid.uuid4()), by=by, url=url, checksum=checksum)
        return await self._create(ref, asked, version)

    async def _create(self, ref: str, asked: Asked, version: str | None) -> Build:
        app, by = self._operations.find(ref), asked.by
        waiting = self._waiting.get(app.id, [])
        if len(waiting) > MOST_WAITING:
            raise InvalidError(
                f"{app.name} has {MOST_WAITING} builds waiting for build {waiting[0].id}: try again later."
            )
        build = await self._store.builds.add(app.id, version, by=actor(by))
        app.journal.api(f"Build started by user {by}")
        self._begin(build, asked, self._operations.find(app.id))  # if it was not destroyed meanwhile
        return build

    async def rebuild(self, ref: str, *, by: str) -> Build:
        """Build again what the current release was built from. Raises NotFoundError, InvalidError, StoreError."""
        app = self._operations.find(ref)
        current = current_of(await self._store.releases.of(app.id))
        slug = await self._store.slugs.find(current.slug_id) if current is not None and current.slug_id else None
        if slug is None or self._tools.archives.source_of(slug.id) is None:
            raise InvalidError(f"The source of what {app.name} runs is not here: deploy it again.")
        slug_id, source_id = slug.id, str(uuid.uuid4())
        await in_thread(lambda: self._tools.archives.source_again(slug_id, source_id))
        return await self.create(ref, source_id, slug.commit, by=by)

    async def of(self, ref: str) -> tuple[Build, ...]:
        """The app's builds, newest first. Raises NotFoundError."""
        return await self._store.builds.of(self._operations.find(ref).id)

    async def info(self, ref: str, build_id: str) -> Build:
        """One build. Raises NotFoundError."""
        build = await self._store.builds.find(build_id)
        if build is None or build.app_id != self._operations.find(ref).id:
            raise NotFoundError("Couldn't find that build.", "build")
        return build

    async def output(self, build_id: str) -> AsyncGenerator[bytes, None]:
        """What a build has said, and what it goes on to say, until it is over; an empty piece wherever it waits."""
        build = await self._store.builds.find(build_id)
        if build is not None:
            async with aclosing(self._tools.output.stream(build)) as pieces:
                async for piece in pieces:
                    yield piece

    async def end_those_of(self, app_id: str) -> None:
        """The app is about to be destroyed: its builds end, and its cache goes."""
        ending = {build.id: self._tasks[build.id] for build in self._waiting.get(app_id, [])}
        for task in ending.values():  # all at once: the end of one is the turn of the next
            task.cancel()
        if ending:
            await asyncio.wait(ending.values())
        for build_id in ending:
            self._put(NOTE + build_id, None)
            await see_off(build_id, self._tools)
        await in_thread(lambda: shutil.rmtree(self._tools.caches / app_id, ignore_errors=True))

    async def sweep(self) -> None:
        """Remove what builds have left of apps that are no more, or of cores that were killed."""
        apps, tools = {view.id for view in self._operations.apps()}, self._tools
        under_way = set(self._tasks)

        def work() -> None:
            tools.output.remove_all(but=apps)
            for folder, kept in ((tools.state / "work", under_way), (tools.caches, apps)):
                for left in list(folder.iterdir()) if folder.exists() else []:
                    if left.name not in kept:
                        shutil.rmtree(left, ignore_errors=True)

        await in_thread(work)

    # --- one build --------------------------------------------------------------------------------------------------

    def _begin(self, build: Build, asked: Asked, app: RunningApp) -> None:
        self._tools.output.begin(build)
        self._waiting.setdefault(build.app_id, []).append(build)
        self._put(NOTE + build.id, asked.note())
        task = self._tasks[build.id] = self._group.create_task(self._run(build, asked, app), name=f"build:{build.id}")
        task.add_done_callback(lambda _task: self._over(build))

    def _over(self, build: Build) -> None:
        del self._tasks[build.id]
        self._waiting[build.app_id].remove(build)
        self._tools.output.end(build)

    async def _run(self, build: Build, asked: Asked, app: RunningApp) -> None:
        """The boundary of a build: whatever is wrong with it is said in its output, and fails it.

        Its app may be renamed or destroyed meanwhile.
        """
        turn = self._turns.setdefault(build.app_id, asyncio.Lock())
        if turn.locked():
            first = self._waiting[build.app_id][0]
            await self._tools.output.say(build, build_text.step(f"Waiting for build {first.id} of this app"))
        async with turn, self._free:
            try:
                slug, version = await carry_out(build, asked, app.name, self._tools)
            except DynodError as error:
                await self._tools.output.say(build, build_text.error(str(error)) + build_text.PUSH_FAILED)
                await self._settle(build, app)
                app.journal.api(f"Build failed -- check your build output: dynod builds:output {build.id}")
            else:
                await self._settle(build, app, slug_id=slug.id, version=version)
                app.journal.api("Build succeeded")
            self._put(NOTE + build.id, None)
            await see_off(build.id, self._tools)
        await in_thread(lambda: self._tools.archives.remove_source(asked.source_id))
        await self._tools.slugs.collect(build.app_id)

    async def _settle(
        self, build: Build, app: RunningApp, *, slug_id: str | None = None, version: int | None = None
    ) -> None:
        while True:
            try:
                await self._store.builds.settle(build.id, slug_id=slug_id, release_version=version)
                return
            except StoreError as error:
                app.journal.api(f"The outcome of a build cannot be kept yet: {error}")
                await asyncio.sleep(STORE_RETRY_S)

    async def _see_off(self, build_id: str) -> None:
        await see_off(build_id, self._tools)
