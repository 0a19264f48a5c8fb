"""Folders that outlive dynos, and the numbers of the apps' users, as the store has them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynod.core.storage_mount import StorageMount
from dynod.store.audit import Actor
from dynod.store.errors import StorageRefusedError, UnknownAppError
from dynod.store.store import Store

ME = Actor(name="me", origin="test")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


def test_a_folder_is_mounted_moved_and_unmounted(store: Store) -> None:
    async def work() -> None:
        app = await store.apps.create("shop", by=ME)
        mounted = await store.storage.add(app.id, StorageMount.parse("uploads:/app/media"), by=ME)
        assert str(mounted.mount) == "uploads:/app/media"
        await store.storage.add(app.id, StorageMount.parse("uploads:/data"), by=ME)
        assert [str(each.mount) for each in await store.storage.of(app.id)] == ["uploads:/data"]
        removed = await store.storage.remove(app.id, "/data", by=ME)
        assert removed is not None
        assert removed.mount.name == "uploads"
        assert await store.storage.remove(app.id, "uploads", by=ME) is None
        assert await store.storage.of(app.id) == ()

    asyncio.run(work())


def test_two_folders_do_not_lie_in_each_other(store: Store) -> None:
    async def work() -> None:
        app = await store.apps.create("shop", by=ME)
        await store.storage.add(app.id, StorageMount.parse("a:/data"), by=ME)
        with pytest.raises(StorageRefusedError):
            await store.storage.add(app.id, StorageMount.parse("b:/data/x"), by=ME)
        other = await store.apps.create("blog", by=ME)
        await store.storage.add(other.id, StorageMount.parse("b:/data/x"), by=ME)

    asyncio.run(work())


def test_each_app_keeps_a_number_that_no_other_gets(store: Store) -> None:
    async def work() -> None:
        apps = [await store.apps.create(name, by=ME) for name in ("one", "two")]
        numbers = [await store.users.number(app.id) for app in apps]
        assert numbers == [0, 1]
        assert await store.users.number(apps[0].id) == 0
        await store.apps.destroy(apps[1].id, by=ME)
        with pytest.raises(UnknownAppError):
            await store.users.number(apps[1].id)
        later = await store.apps.create("three", by=ME)
        assert await store.users.number(later.id) == 2

    asyncio.run(work())
