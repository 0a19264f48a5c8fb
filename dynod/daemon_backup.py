"""A backup of a running daemon: its database as of one moment, settings, the slugs that apps run and ran before.

Folders of storage are in it where they were asked for: packed first, since their sizes have to be known and apps write
to them meanwhile, which takes as much room on disk as they do.

Flow: platform_api → **daemon backup** → `backup_file` → whoever asked. May import store, builds, backup_file,
storage_archive, core.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dynod import __version__
from dynod.app_slugs import in_thread
from dynod.app_storage import storage_folder
from dynod.backup_file import (
    DATABASE,
    FORMAT,
    SETTINGS,
    WITHOUT_STORAGE,
    BackupError,
    Manifest,
    Source,
    StoredFolder,
    part_of,
    write_backup,
)
from dynod.builds.archives import LEAST_FREE, Archives
from dynod.core.release import ReleaseStatus
from dynod.operations import InvalidError
from dynod.storage_archive import pack, size_of
from dynod.store.apps import App
from dynod.store.store import NEWEST_SCHEMA, Store

if TYPE_CHECKING:
    from concurrent.futures import Future

SLUGS: Final = 2  # of an app: the current one, and the one before
MB: Final = 1024 * 1024
Send = Callable[[bytes], Awaitable[None]]  # a piece, taken by whoever asked
_FOLDER: Final = ".backup-"  # of the state folder, while one is made


class DaemonBackup:
    """One at a time."""

    def __init__(self, store: Store, archives: Archives, *, settings: Path | None) -> None:
        """`settings`: the file that they were read from, if there is one."""
        self._store = store
        self._archives = archives
        self._settings = settings
        self._making = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def begin(self, *, storage: bool = False) -> AsyncIterator[Callable[[Send], Awaitable[None]]]:
        """A backup of what there is now; what is entered writes it to whoever is given. Raises DynodError.

        `storage`: with the apps' folders of it. Changes go on meanwhile, and are not in it.
        """
        if self._making.locked():
            raise InvalidError("Another backup is being made: try again when it is done.")
        async with self._making:
            slugs = await self._slugs()
            apps = await self._store.apps.all() if storage else ()
            state = self._store.path.parent
            await in_thread(lambda: remove_left_backups(state))
            folder = await in_thread(lambda: Path(tempfile.mkdtemp(prefix=_FOLDER, dir=state)))
            try:
                manifest, sources = await in_thread(lambda: self._collect(folder, slugs, apps))

                async def write(send: Callable[[bytes], Awaitable[None]]) -> None:
                    await _write(send, manifest, sources)

                yield write
            finally:
                await in_thread(lambda: shutil.rmtree(folder, ignore_errors=True))

    async def _slugs(self) -> list[str]:
        """Checksums of what the apps run, and of what they ran before."""
        found: dict[str, None] = {}
        for app in await self._store.apps.all():
            checksums = {slug.id: slug.checksum for slug in await self._store.slugs.of(app.id)}
            for kept in ({ReleaseStatus.PENDING}, {ReleaseStatus.SUCCEEDED}):
                used = [
                    checksums.get(release.slug_id)
                    for release in await self._store.releases.of(app.id)
                    if release.slug_id is not None and release.status in kept
                ]
                newest = list(dict.fromkeys(each for each in used if each is not None))
                found |= dict.fromkeys(newest[:SLUGS])
        return list(found)

    def _collect(self, folder: Path, slugs: list[str], apps: Sequence[App]) -> tuple[Manifest, list[Source]]:
        """Everything in the folder, so that nothing is removed before it was read."""
        self._store.copy_to(folder / DATABASE)
        sources = [part_of(DATABASE, folder / DATABASE)]
        if self._settings is not None and self._settings.is_file():
            shutil.copyfile(self._settings, folder / SETTINGS)
            sources.append(part_of(SETTINGS, folder / SETTINGS))
        missing = []
        for checksum in slugs:
            archive = self._archives.slug(checksum)
            if archive is None:
                missing.append(checksum)
                continue
            os.link(archive, folder / archive.name)
            source = part_of(f"slugs/{archive.name}", folder / archive.name)
            if source.part.sha256 != checksum:
                raise BackupError(f"{archive} is damaged: release its app anew, and then make a backup")
            sources.append(source)
        stored = self._pack_storage(folder, apps)
        sources += [source for _, source in stored]
        manifest = Manifest(
            format=FORMAT if stored else WITHOUT_STORAGE,
            dynod=__version__,
            schema=NEWEST_SCHEMA,
            made_at=self._store.now().isoformat(timespec="seconds"),
            parts=[source.part for source in sources],
            missing=missing,
            storage=[packed for packed, _ in stored],
        )
        return manifest, sources

    def _pack_storage(self, into: Path, apps: Sequence[App]) -> list[tuple[StoredFolder, Source]]:
        """Every folder that there is of these apps, mounted or not. Raises BackupError, OSError."""
        state = self._store.path.parent
        above = {app: storage_folder(state, app.id) for app in apps}
        folders = [(app, each) for app, path in above.items() if path.is_dir() for each in sorted(path.iterdir())]
        needed, free = sum(size_of(folder) for _, folder in folders), shutil.disk_usage(state).free
        if folders and needed > free - LEAST_FREE:
            raise BackupError(
                f"the storage of apps is {needed // MB:,} MB, and to back it up takes as much room in {state} for a "
                f"while: {free // MB:,} MB are free, {LEAST_FREE // MB:,} MB of them are left alone"
            )
        found = []
        for number, (app, folder) in enumerate(folders):
            archive = into / f"storage-{number}.tgz"
            with archive.open("xb") as file:
                packed = pack(folder, file)
            source = part_of(f"storage/{app.id}/{folder.name}.tgz", archive)
            folder_of = StoredFolder(
                app=app.name,
                name=folder.name,
                part=source.part.name,
                files=packed.files,
                size=packed.size,
                left_out=packed.left_out,
                unread=packed.unread,
                unread_names=list(packed.unread_names),
            )
            found.append((folder_of, source))
        return found


async def _write(send: Callable[[bytes], Awaitable[None]], manifest: Manifest, sources: list[Source]) -> None:
    """In a thread, which waits for each piece to be taken; a reader that has left ends it."""
    loop = asyncio.get_running_loop()
    left = asyncio.Event()

    async def piece(data: bytes) -> None:
        if left.is_set():
            raise ConnectionResetError
        await send(data)

    class Sent:
        def write(self, data: bytes, /) -> None:
            sending: Future[None] = asyncio.run_coroutine_threadsafe(piece(bytes(data)), loop)
            sending.result()

    writing = asyncio.ensure_future(asyncio.to_thread(write_backup, Sent(), manifest, sources))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        left.set()
        with contextlib.suppress(BaseException):
            await writing
        raise


def remove_left_backups(state: Path) -> None:
    """What a core that was killed had begun."""
    for folder in list(state.glob(f"{_FOLDER}*")):
        shutil.rmtree(folder, ignore_errors=True)
