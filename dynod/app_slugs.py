"""The slugs of apps: said what they are, taken in, given back, unpacked, and removed when nobody needs them.

Flow: platform_api → **app slugs** → archives on disk, store; a release is made of `folder_of`. May import operations,
builds, store, core.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from dynod.builds.archives import Archives, Received, Upload, now
from dynod.core.fault import quoted
from dynod.core.procfile import parse_procfile
from dynod.core.slug import NewSlug, Slug
from dynod.core.slug_retention import SlugAge, slugs_to_remove, sources_to_keep
from dynod.errors import DynodError
from dynod.operations import AppView, InvalidError, NotFoundError, Operations
from dynod.store.audit import actor
from dynod.store.store import Store

PIECE_BYTES: Final = 1024 * 1024  # written at a time
MOST_TYPES: Final = 100
FILES_KEPT_S: Final = 3600.0  # an archive that no slug names yet: one is being made of it

_Result = TypeVar("_Result")


class AppSlugs:
    """Every slug of every app of the daemon."""

    def __init__(self, operations: Operations, store: Store, archives: Archives) -> None:
        self._operations = operations
        self._store = store
        self._archives = archives
        self._unpacking: dict[str, asyncio.Lock] = {}

    @property
    def most_bytes(self) -> int:
        """Of an archive."""
        return self._archives.limits.packed

    def app(self, ref: str) -> AppView:
        """Whose they are. Raises NotFoundError."""
        return self._operations.app(ref)

    async def create(self, ref: str, slug: NewSlug, *, by: str) -> Slug:
        """A slug whose archive is to be uploaded. Raises NotFoundError, InvalidError, StoreError."""
        app = self._operations.find(ref)
        check_process_types(slug.process_types)
        return await self._store.slugs.add(app.id, slug, by=actor(by))

    async def info(self, ref: str, slug_id: str) -> Slug:
        """One slug of the app. Raises NotFoundError."""
        app = self._operations.find(ref)
        slug = await self._store.slugs.find(slug_id)
        if slug is None or slug.app_id != app.id:
            raise NotFoundError("Couldn't find that slug.", "slug")
        return slug

    async def receive(self, slug_id: str, pieces: AsyncIterator[bytes], *, expected: str | None) -> Slug:
        """Take its archive in, once. Raises NotFoundError, InvalidError, ArchiveRefusedError, DynodError."""
        slug = await self._store.slugs.find(slug_id)
        if slug is None:
            raise NotFoundError("Couldn't find that slug.", "slug")
        if slug.checksum is not None:
            raise InvalidError("This slug has its archive already: make another slug.")
        received = await self.take_in(self._archives.receive_slug, pieces, lambda up: up.finish(expected=expected))
        uploaded = await self._store.slugs.uploaded(slug_id, received.checksum, received.size)
        if uploaded is None:
            raise InvalidError("This slug has its archive already: make another slug.")
        await self.collect(slug.app_id)
        return uploaded

    async def receive_source(self, source_id: str, pieces: AsyncIterator[bytes]) -> Received:
        """Take a source in. Raises ArchiveRefusedError, DynodError."""
        return await self.take_in(self._archives.receive_source, pieces, lambda up: up.finish(as_source=source_id))

    async def archive(self, slug_id: str) -> Path:
        """The file. Raises NotFoundError."""
        slug = await self._store.slugs.find(slug_id)
        path = self._archives.slug(slug.checksum) if slug is not None and slug.checksum is not None else None
        if path is None:
            raise NotFoundError("Couldn't find that slug.", "slug")
        return path

    def source(self, source_id: str) -> Path:
        """The file. Raises NotFoundError."""
        path = self._archives.source(source_id)
        if path is None:
            raise NotFoundError("Couldn't find that source.", "source")
        return path

    async def folder_of(self, slug: Slug) -> Path:
        """Its code, unpacked now if it never was; not to be written to.

        Raises InvalidError (nothing was uploaded), ArchiveRefusedError, DiskFullError.
        """
        checksum = slug.checksum
        if checksum is None or self._archives.slug(checksum) is None:
            raise InvalidError("The archive of this slug is not here.")
        return await self.unpacked(checksum)

    async def folder_of_id(self, slug_id: str) -> Path:
        """As `folder_of`, of the slug with this id, of whichever app. Raises NotFoundError too."""
        slug = await self._store.slugs.find(slug_id)
        if slug is None:
            raise NotFoundError("Couldn't find that slug.", "slug")
        return await self.folder_of(slug)

    async def unpacked(self, checksum: str) -> Path:
        """As `folder_of`, of an archive that is here. Raises ArchiveRefusedError, DiskFullError."""
        async with self._unpacking.setdefault(checksum, asyncio.Lock()):
            return await in_thread(lambda: self._archives.unpacked(checksum))

    async def take_in(
        self, begin: Callable[[], Upload], pieces: AsyncIterator[bytes], finish: Callable[[Upload], Received]
    ) -> Received:
        """An archive as it comes, hashed and written in a thread. Raises ArchiveRefusedError, DynodError."""
        upload = await in_thread(begin)
        try:
            waiting = bytearray()
            async for piece in pieces:
                waiting += piece
                if len(waiting) >= PIECE_BYTES:
                    await in_thread(_writing(upload, bytes(waiting)))
                    waiting.clear()
            await in_thread(_writing(upload, bytes(waiting)))
            return await in_thread(lambda: finish(upload))
        finally:
            upload.close()

    async def collect(self, app_id: str) -> None:
        """Remove what no release of the app needs any more, and archives that no app needs. Raises StoreError."""
        releases = await self._store.releases.of(app_id)
        slugs = [SlugAge(slug.id, slug.created_at) for slug in await self._store.slugs.of(app_id)]
        doomed = slugs_to_remove(slugs, releases, now=self._store.now())
        if doomed:
            await self._store.slugs.remove(app_id, doomed)
        kept = sources_to_keep(releases)
        old = [slug.id for slug in slugs if slug.id not in kept and slug.id in {each.slug_id for each in releases}]
        await in_thread(lambda: self._archives.remove_built_from(those=old))
        await self.sweep()

    async def sweep(self) -> None:
        """Remove archives that no slug names: of apps that are no more, or left by a core that was killed."""
        needed = await self._store.slugs.checksums()
        slugs = await self._store.slugs.ids()
        older_than = now() - FILES_KEPT_S
        await in_thread(lambda: self._archives.remove_built_from(but=slugs))
        await in_thread(lambda: self._archives.remove_slugs(but=needed, older_than=older_than))
        await in_thread(lambda: self._archives.remove_left(now()))


async def in_thread(work: Callable[[], _Result]) -> _Result:
    """Blocking work on files. Raises DynodError for what the operating system refuses.

    It is waited for also where the caller is cancelled: what it writes to must not be taken away under it.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(BaseException):
            await task
        raise
    except OSError as error:
        raise ArchiveDiskError(f"The archive cannot be kept: {error.strerror or error}") from error


class ArchiveDiskError(DynodError):
    """The disk does not do it."""

    code = "disk"


def check_process_types(types: Mapping[str, str]) -> None:
    """As in a Procfile. Raises InvalidError."""
    if len(types) > MOST_TYPES:
        raise InvalidError(f"An app can have {MOST_TYPES} process types.")
    for name, command in types.items():
        read = parse_procfile(f"{name}: {command}")
        if read.faults or [each.name for each in read.types] != [name]:
            why = f": {read.faults[0].message}" if read.faults else ""
            raise InvalidError(f"{quoted(name)} is no process type with a command on one line{why}.")


def _writing(upload: Upload, data: bytes) -> Callable[[], None]:
    return lambda: upload.write(data)
