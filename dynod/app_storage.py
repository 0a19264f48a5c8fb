"""Folders of apps that outlive their dynos: made, shown to dynos that start from then on, and never removed by dynod.

Flow: platform_api → **app storage** → store, then the app. May import operations, store, core.

    STATE/storage/APP_ID/NAME
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dynod.core.container import HOME, Bind, User
from dynod.core.isolation import Isolation
from dynod.core.storage_mount import StorageMount
from dynod.core.suggest import not_found
from dynod.operations import AppView, InvalidError, NotFoundError, Operations
from dynod.ownership import give_to
from dynod.store.audit import actor
from dynod.store.storage import Mounted
from dynod.store.store import Store


class StorageView(NamedTuple):
    """A folder of an app, and where it is on the machine."""

    app: AppView
    mounted: Mounted
    folder: Path


class AppStorage:
    """Of every app of the daemon."""

    def __init__(
        self, operations: Operations, store: Store, *, level: Isolation, refit: Callable[[str], Awaitable[None]]
    ) -> None:
        """`level`: what dynos have; `refit` lets an app know that something of it has changed."""
        self._operations = operations
        self._store = store
        self._level = level
        self._refit = refit

    async def of(self, ref: str) -> list[StorageView]:
        """By name. Raises NotFoundError."""
        app = self._operations.find(ref)
        return [self._view(app.id, mounted) for mounted in await self._store.storage.of(app.id)]

    async def mount(self, ref: str, written: str, *, by: str) -> StorageView:
        """NAME:/path: a new folder, or one at another path.

        Raises NotFoundError, StorageMountError, StoreError, InvalidError.
        """
        app = self._operations.find(ref)
        mount = StorageMount.parse(written)
        if self._level is Isolation.NONE:
            raise InvalidError("Dynos have no containers here, and see the machine's folders as they are.")
        if self._level is Isolation.USER and not mount.path.startswith(f"{HOME}/"):
            raise InvalidError(f"Dynos have no containers here, and see folders below {HOME} alone.")
        async with self._operations.changing(app):
            mounted = await self._store.storage.add(app.id, mount, by=actor(by))
        await self._refit(app.id)
        return self._view(app.id, mounted)

    async def unmount(self, ref: str, name: str, *, by: str) -> StorageView:
        """By name or path: dynos that start from now on do not see it; its files stay.

        Raises NotFoundError, StoreError.
        """
        app = self._operations.find(ref)
        async with self._operations.changing(app):
            removed = await self._store.storage.remove(app.id, name, by=actor(by))
        if removed is None:
            known = [each.mount for each in await self._store.storage.of(app.id)]
            names = [mount.path if name.startswith("/") else mount.name for mount in known]
            raise NotFoundError(not_found("folder", name, names), "storage")
        await self._refit(app.id)
        return self._view(app.id, removed)

    def _view(self, app_id: str, mounted: Mounted) -> StorageView:
        folder = storage_folder(self._store.path.parent, app_id) / mounted.mount.name
        return StorageView(self._operations.app(app_id), mounted, folder)


def storage_folder(state: Path, app_id: str) -> Path:
    """Where the folders of an app are."""
    return state / "storage" / app_id


async def binds_of(state: Path, app_id: str, mounts: Sequence[Mounted], user: User | None) -> tuple[Bind, ...]:
    """How dynos see them; each is there from now on, and belongs to the app's user. Raises OSError."""
    above = storage_folder(state, app_id)

    def make() -> tuple[Bind, ...]:
        binds = []
        for mounted in mounts:
            folder = above / mounted.mount.name
            above.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            if user is not None:
                give_to(user, folder)
                for on_the_way in (above, above.parent):
                    on_the_way.chmod(0o711)
            binds.append(Bind(source=os.fspath(folder), target=mounted.mount.path, writable=True))
        return tuple(binds)

    return await asyncio.to_thread(make)
