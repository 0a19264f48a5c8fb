"""One build, from what was asked for to its release; by whichever core is there.

Flow: app builds → **one build** → runner (processes of the keeper's) → slug in the archives → store → release.
Each step leaves what the next core needs: the processes and their folder, then the slug's id in the store, then the
release.
May import the slugs, builds, process, store, core.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dynod.app_slugs import AppSlugs, in_thread
from dynod.build_output import BuildOutput
from dynod.build_place import CACHES, WORKS, BuildsApart, place_for
from dynod.builds.archives import Archives, DiskFullError, Received
from dynod.builds.fetching import fetched
from dynod.builds.preparation import prepare, remove_cache
from dynod.builds.work import BuildResult, BuildSpec, open_slug, read_result
from dynod.core import build_text
from dynod.core.asker import Asker, origin_of
from dynod.core.build import Build, shown_version
from dynod.core.build_environment import build_environment
from dynod.core.build_plan import Origin, remembered
from dynod.core.buildpack import BuildpackRefusedError, read_buildpacks
from dynod.core.release import Release, base_of
from dynod.core.slug import NewSlug, Slug
from dynod.core.source_url import place_of
from dynod.errors import DynodError
from dynod.ownership import give_to
from dynod.process.build_processes import BuildProcesses
from dynod.process.container import Wanted, not_enclosed
from dynod.settings import Builds
from dynod.store.audit import actor
from dynod.store.store import Store

MINUTE_S: Final = 60
NOTE: Final = "build:"  # of the keys under which the keeper keeps what was asked for; the build's id follows

Deploy = Callable[[Slug, Path, str, str], Awaitable[int]]
# ^ make a release of a slug, its code, a description, on behalf of somebody; returns its version. Raises DynodError.


class BuildFailedError(DynodError):
    """The build has failed; a message that is empty has been said already."""

    code = "build_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a build was asked for, as the keeper has it."""

    source_id: str
    by: str  # with where they asked from (core/asker)
    url: str | None = None  # where the source is to be fetched from, if it was not uploaded
    checksum: str | None = None  # that the source's archive has to have: `SHA256:…`
    ends_at: float | None = None  # the loop's clock, which is one for all cores of a boot; None: not begun

    def note(self) -> str:
        """To be kept."""
        noted = {
            "source_id": self.source_id,
            "by": str(self.by),
            "origin": origin_of(self.by),
            "url": self.url,
            "checksum": self.checksum,
            "ends_at": self.ends_at,
        }
        return json.dumps(noted)

    @classmethod
    def from_note(cls, note: str) -> "Asked":
        """What `note` was."""
        noted = json.loads(note)
        by = Asker(noted["by"], noted["origin"])
        return cls(
            source_id=noted["source_id"],
            by=by,
            url=noted.get("url"),
            checksum=noted.get("checksum"),
            ends_at=noted["ends_at"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTools:
    """What every build of the daemon needs."""

    state: Path
    store: Store
    slugs: AppSlugs
    archives: Archives
    output: BuildOutput
    processes: BuildProcesses
    builds: Builds  # its settings
    deploy: Deploy
    web_url: Callable[[str], str]  # by the app's id
    apart: Callable[[], BuildsApart]  # blocks, the first time
    number: Callable[[str], Awaitable[int]]  # of an app, by its id: what its user goes by
    put: Callable[[str, str | None], None]  # keep a value for the next core

    def work(self, build_id: str) -> Path:
        """Where a build works."""
        return self.state / WORKS / build_id

    @property
    def caches(self) -> Path:
        """A folder for each app, kept from build to build."""
        return self.state / CACHES


async def carry_out(build: Build, asked: Asked, app: str, tools: BuildTools) -> tuple[Slug, int]:
    """From wherever an earlier core has left it, to its release: the slug, and the release's version.

    `app`: its name. Raises BuildFailedError, DynodError.
    """
    releases = await tools.store.releases.of(build.app_id)
    slug = await tools.store.slugs.find(build.slug_id) if build.slug_id is not None else None
    if slug is None:
        slug = await _built(build, asked, app, releases, tools)
    made = next((each.version for each in releases if each.slug_id == slug.id), None)
    if made is not None:
        return slug, made  # a core was killed before it could say so
    folder = await tools.slugs.folder_of(slug)
    version = await tools.deploy(slug, folder, f"Deploy {_called(build, slug)}", asked.by)
    await tools.output.say(build, build_text.launched(version, tools.web_url(build.app_id), slug.process_types))
    return slug, version


async def see_off(build_id: str, tools: BuildTools) -> None:
    """Whatever has become of it: its processes are gone, and its folder goes."""
    if build_id in tools.processes.known:
        tools.processes.stop(build_id, grace_s=0.0)
        await tools.processes.ended(build_id)
        tools.processes.forget(build_id)
    await in_thread(lambda: shutil.rmtree(tools.work(build_id), ignore_errors=True))
    containers = (await in_thread(tools.apart)).containers
    if containers is not None:
        await in_thread(lambda: containers.discard(build_id))


async def _built(build: Build, asked: Asked, app: str, releases: tuple[Release, ...], tools: BuildTools) -> Slug:
    """Run it, or wait for the processes that an earlier core has started; then take its slug in."""
    if build.id not in tools.processes.known:
        asked = await _start(build, asked, app, releases, tools)
    result = await _result(build, asked, tools)
    received = await in_thread(lambda: _take_in(tools, build))
    slug = await tools.store.slugs.add(build.app_id, _described(build, result, received), by=actor(asked.by))
    await tools.slugs.folder_of(slug)  # every check of an archive: nothing that a build has made is trusted
    await tools.store.builds.made(build.id, slug.id)
    await in_thread(lambda: tools.archives.keep_source(asked.source_id, slug.id))
    await _remember(build, asked, result, tools)
    return slug


def _verify(source_id: str, expected: str, archives: Archives) -> None:
    """Raises BuildFailedError, OSError."""
    path = archives.source(source_id)
    if path is None:
        return  # which the build says
    with path.open("rb") as file:
        found = f"SHA256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if found.lower() != expected.lower():
        raise BuildFailedError(f"the source's checksum is {found}, not {expected}: nothing was built")


async def _start(build: Build, asked: Asked, app: str, releases: tuple[Release, ...], tools: BuildTools) -> Asked:
    apart = await in_thread(tools.apart)
    if apart.refused is not None:
        raise BuildFailedError(f"Builds do not run as root: {apart.refused}")
    await _make_room(build, tools)
    if asked.url is not None:
        await _fetch(build, asked.source_id, asked.url, tools)
    if asked.checksum is not None:
        await in_thread(lambda: _verify(asked.source_id, asked.checksum or "", tools.archives))
    base = base_of(releases)
    config = dict(base.config) if base is not None else {}
    containers = apart.containers
    user = apart.user(await tools.number(build.app_id)) if apart.user is not None else None
    cache = tools.caches / build.app_id
    place = place_for(tools.work(build.id), cache, contained=containers is not None, user=user)
    environment = build_environment(
        daemon=os.environ,
        operator=tools.builds.env,
        home=place.home,
        temporary=place.temporary,
        build_id=build.id,
        source_version=build.source_version,
    )
    spec = BuildSpec(
        build_id=build.id,
        app=app,
        work=place.seen_work,
        cache=place.seen_cache,
        listed=await tools.store.buildpacks.of(build.app_id),
        config=config,
        is_first=base is None or base.plan is None,
        environment=environment,
        most_packed=tools.builds.slug_bytes,
        most_unpacked=tools.archives.limits.unpacked,
    )
    source = tools.slugs.source(asked.source_id)
    argv = await in_thread(lambda: prepare(spec, work=place.work, cache=cache, source=source, config=config))
    if place.user is not None:
        owner = place.user
        await in_thread(lambda: give_to(owner, place.work, cache, cache / "build", cache / "packs"))
    begun = replace(asked, ends_at=asyncio.get_running_loop().time() + tools.builds.timeout_s)
    tools.put(NOTE + build.id, begun.note())
    wanted = Wanted(argv, environment)
    try:
        if containers is not None and place.container is not None:
            enclosed = containers.enclose(build.id, place.container, wanted)
        elif apart.hold is not None and place.held is not None:
            enclosed = apart.hold(place.held, wanted, os.fspath(place.work))
        else:
            enclosed = not_enclosed(wanted, os.fspath(place.work), place.user)
        await tools.processes.start(build.id, enclosed)
    except OSError as error:
        raise BuildFailedError(f"The build cannot be started: {error.strerror or error}") from error
    return begun


async def _fetch(build: Build, source_id: str, url: str, tools: BuildTools) -> None:
    """Anew where an earlier core was at it. Raises SourceUrlError, ArchiveRefusedError, DynodError."""
    private = tools.builds.private_sources
    await tools.output.say(build, build_text.step(f"Fetching source from {place_of(url, private=private)}"))
    async with contextlib.aclosing(fetched(url, private=private)) as pieces:
        await tools.slugs.receive_source(source_id, pieces)


async def _make_room(build: Build, tools: BuildTools) -> None:
    """Contracts 8: build caches go first. Raises DiskFullError."""
    while True:
        try:
            await in_thread(tools.archives.check_room)
            return
        except DiskFullError:
            if not await in_thread(lambda: remove_cache(tools.caches, but=build.app_id)):
                raise


async def _result(build: Build, asked: Asked, tools: BuildTools) -> BuildResult:
    ends_at = asked.ends_at if asked.ends_at is not None else asyncio.get_running_loop().time()
    ended = asyncio.ensure_future(tools.processes.ended(build.id))
    is_late = False
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(ends_at):
                await asyncio.shield(ended)
        if not ended.done():
            is_late = True
            tools.processes.stop(build.id)
        code = await ended
    finally:
        ended.cancel()
    result = await in_thread(lambda: read_result(tools.work(build.id)))
    if is_late:
        raise BuildFailedError(f"Timed out building: it may take {_minutes(tools.builds.timeout_s)}.")
    if result is None:
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        raise BuildFailedError(f"The build has ended {how}, and has left no result.")
    if not result.ok:
        raise BuildFailedError
    return result


def _take_in(tools: BuildTools, build: Build) -> Received:
    return tools.archives.adopt_slug(open_slug(tools.work(build.id)))


def _described(build: Build, result: BuildResult, received: Received) -> NewSlug:
    return NewSlug(
        process_types=result.process_types or {},
        stack="host",
        commit=build.source_version,
        buildpack_description=result.description or None,
        checksum=received.checksum,
        size=received.size,
    )


async def _remember(build: Build, asked: Asked, result: BuildResult, tools: BuildTools) -> None:
    """What was detected, or app.json's, is the app's list from now on, unless somebody has set one meanwhile."""
    origin = Origin.__members__.get(result.origin)
    names = remembered(origin, result.buildpacks) if origin is not None else ()
    if names and not await tools.store.buildpacks.of(build.app_id):
        with contextlib.suppress(BuildpackRefusedError):  # the runner's word, which a buildpack could have written
            await tools.store.buildpacks.replace(build.app_id, read_buildpacks(names), by=actor(asked.by))


def _called(build: Build, slug: Slug) -> str:
    return shown_version(build.source_version or slug.id[:8])


def _minutes(seconds: float) -> str:
    return f"{seconds / MINUTE_S:g} minutes" if seconds >= MINUTE_S else f"{seconds:g} s"
