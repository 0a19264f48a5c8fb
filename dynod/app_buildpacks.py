"""The buildpacks of apps: a list that the next build goes by. Nothing is built here.

Flow: platform_api → **app buildpacks** → store. May import operations, store, core.
"""

from collections.abc import Sequence

from dynod.core.buildpack import read_buildpacks
from dynod.operations import Operations
from dynod.store.audit import actor
from dynod.store.store import Store


class AppBuildpacks:
    """Of every app of the daemon."""

    def __init__(self, operations: Operations, store: Store) -> None:
        self._operations = operations
        self._store = store

    async def of(self, ref: str) -> tuple[str, ...]:
        """In their order. Raises NotFoundError."""
        return await self._store.buildpacks.of(self._operations.find(ref).id)

    async def replace(self, ref: str, written: Sequence[str], *, by: str) -> tuple[str, ...]:
        """These and no others, from the next build on. Raises NotFoundError, BuildpackRefusedError, StoreError."""
        app = self._operations.find(ref)
        urls = read_buildpacks(written)
        async with self._operations.changing(app):
            return await self._store.buildpacks.replace(app.id, urls, by=actor(by))
