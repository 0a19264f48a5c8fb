"""Drains are kept whole, shown without secrets, and go with their app."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dynod.core.drain import DrainRecord
from dynod.core.drain_url import DrainRefusedError, parse_drain_url
from dynod.core.history_plan import Position
from dynod.store.apps import App
from dynod.store.audit import Actor
from dynod.store.store import Store

ME = Actor(name="me", origin="test")


def drain(number: int, url: str = "") -> DrainRecord:
    at = datetime(2026, 1, 1, 0, 0, number, tzinfo=UTC)
    return DrainRecord(
        id=f"id-{number}",
        token=f"d.{number}",
        url=parse_drain_url(url or f"https://user:secret@example.com/{number}?key=secret"),
        created_at=at,
        updated_at=at,
        begin=Position(number * 100, number),
    )


def play(folder: Path, work: Callable[[Store, App], Awaitable[None]]) -> None:
    async def run() -> None:
        store = Store.open(folder)
        try:
            app = await store.apps.find("shop") or await store.apps.create("shop", by=ME)
            await work(store, app)
        finally:
            store.close()

    asyncio.run(run())


def test_drains_come_back_as_they_were_after_a_restart(tmp_path: Path) -> None:
    async def add(store: Store, app: App) -> None:
        await store.drains.add(app.id, drain(2), by=ME)
        await store.drains.add(app.id, drain(1), by=ME)

    async def look(store: Store, app: App) -> None:
        assert await store.drains.of(app.id) == (drain(1), drain(2))
        await store.drains.remove(app.id, drain(1), by=ME)
        assert await store.drains.of(app.id) == (drain(2),)

    play(tmp_path, add)
    play(tmp_path, look)


def test_the_audit_trail_names_drains_without_their_secrets(tmp_path: Path) -> None:
    async def work(store: Store, app: App) -> None:
        await store.drains.add(app.id, drain(1), by=ME)
        await store.drains.remove(app.id, drain(1), by=ME)
        await store.drains.remove(app.id, drain(1), by=ME)
        trail = [(entry.action, entry.detail) for entry in await store.audit.newest() if "drain" in entry.action]
        assert trail == [
            ("drain.remove", "https://***@example.com/1?key=***"),
            ("drain.add", "https://***@example.com/1?key=***"),
        ]

    play(tmp_path, work)


def test_one_too_many_and_one_twice_are_refused(tmp_path: Path) -> None:
    async def work(store: Store, app: App) -> None:
        await store.drains.add(app.id, drain(0), by=ME)
        with pytest.raises(DrainRefusedError, match="already been taken"):
            await store.drains.add(app.id, drain(9, url=drain(0).url.full), by=ME)
        for number in range(1, 5):
            await store.drains.add(app.id, drain(number), by=ME)
        with pytest.raises(DrainRefusedError, match="maximum number of drains"):
            await store.drains.add(app.id, drain(5), by=ME)
        other = await store.apps.create("other", by=ME)
        await store.drains.add(other.id, drain(6), by=ME)
        assert len(await store.drains.of(app.id)) == 5

    play(tmp_path, work)


def test_drains_go_with_their_app(tmp_path: Path) -> None:
    async def work(store: Store, app: App) -> None:
        await store.drains.add(app.id, drain(0), by=ME)
        await store.apps.destroy(app.id, by=ME)
        assert await store.drains.of(app.id) == ()

    play(tmp_path, work)
