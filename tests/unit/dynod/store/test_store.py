"""The aggregates: what each call does, what it refuses and in which words, and the audit entry that a change leaves."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dynod.store import audit
from dynod.store.audit import Actor
from dynod.store.errors import FolderRefusedError, NameRefusedError, NameTakenError, UnknownAppError
from dynod.store.store import Store

ME = Actor(name="me@example.com", origin="unix uid 1000")
NOBODY = "00000000-0000-4000-8000-000000000000"


class Clock:
    """Every look is a second later."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "state", clock=Clock())
    yield opened
    opened.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def test_an_app_is_made_found_by_name_and_id_and_listed_by_name(store: Store) -> None:
    async def work() -> None:
        web = await store.apps.create("web-shop", by=ME, folder=Path("/srv/shop"))
        api = await store.apps.create("api", by=ME)
        assert (web.name, web.folder, web.maintenance) == ("web-shop", Path("/srv/shop"), False)
        assert web.created_at == web.updated_at < api.created_at
        assert api.folder is None
        assert await store.apps.all() == (api, web)
        assert await store.apps.find("web-shop") == await store.apps.find(web.id) == web
        assert await store.apps.find("shop") is None

    run(work)


def test_a_name_that_is_taken_or_bad_is_refused(store: Store) -> None:
    async def work() -> None:
        first = await store.apps.create("demo", by=ME)
        other = await store.apps.create("other", by=ME)
        with pytest.raises(
            NameTakenError, match=r'^app name "demo": there is such an app already; choose another name$'
        ):
            await store.apps.create("demo", by=ME)
        with pytest.raises(NameTakenError):
            await store.apps.rename(other.id, "demo", by=ME)
        with pytest.raises(NameRefusedError, match=r'^app name "Demo": expected lower-case letters'):
            await store.apps.create("Demo", by=ME)
        with pytest.raises(NameRefusedError):
            await store.apps.rename(first.id, "x", by=ME)
        assert await store.apps.all() == (first, other)

    run(work)


@pytest.mark.parametrize("folder", ["relative", "/with\0nul", "/not-utf8-\udcff"])
def test_a_folder_that_could_not_be_kept_is_refused(store: Store, folder: str) -> None:
    async def work() -> None:
        with pytest.raises(FolderRefusedError, match="expected an absolute path in UTF-8"):
            await store.apps.create("demo", by=ME, folder=Path(folder))
        assert await store.apps.all() == ()

    run(work)


def test_an_app_is_renamed_and_its_old_name_is_free(store: Store) -> None:
    async def work() -> None:
        app = await store.apps.create("demo", by=ME)
        renamed = await store.apps.rename(app.id, "shop", by=ME)
        assert (renamed.id, renamed.name) == (app.id, "shop")
        assert renamed.updated_at > app.updated_at
        assert await store.apps.rename(app.id, "shop", by=ME) == renamed
        assert (await store.apps.create("demo", by=ME)).id != app.id

    run(work)


def test_maintenance_is_switched(store: Store) -> None:
    async def work() -> None:
        app = await store.apps.create("demo", by=ME)
        assert (await store.apps.set_maintenance(app.id, on=True, by=ME)).maintenance
        found = await store.apps.find("demo")
        assert found is not None
        assert found.maintenance
        assert await store.apps.set_maintenance(app.id, on=True, by=ME) == found
        assert not (await store.apps.set_maintenance(app.id, on=False, by=ME)).maintenance

    run(work)


def test_formation_changes_the_named_types_and_keeps_the_others(store: Store) -> None:
    async def work() -> None:
        app = await store.apps.create("demo", by=ME, formation={"web": (1, "Unsized"), "worker": (0, "Basic")})
        before = await store.formation.of(app.id)
        assert {name: (row.quantity, row.size) for name, row in before.items()} == {
            "web": (1, "Unsized"),
            "worker": (0, "Basic"),
        }
        after = await store.formation.set(app.id, {"web": (3, "Unsized"), "worker": (0, "Basic")}, by=ME)
        assert after["web"].quantity == 3
        assert after["web"].created_at == before["web"].created_at < after["web"].updated_at
        assert after["worker"] == before["worker"], "what was not changed has not been updated"
        assert await store.formation.all() == {app.id: after}
        assert list(await store.formation.remove(app.id, ["worker", "clock"], by=ME)) == ["web"]

    run(work)


def test_a_formation_that_no_row_can_hold_changes_nothing(store: Store) -> None:
    """The check is `core`'s; the table's own is the last line, and a bug shows as one."""

    async def work() -> None:
        app = await store.apps.create("demo", by=ME, formation={"web": (1, "Unsized")})
        before = await store.formation.of(app.id)
        entries = await store.audit.newest()
        with pytest.raises(sqlite3.IntegrityError):
            await store.formation.set(app.id, {"web": (5, "Unsized"), "worker": (-1, "Unsized")}, by=ME)
        assert await store.formation.of(app.id) == before
        assert await store.audit.newest() == entries

    run(work)


def test_settings_are_set_and_unset_all_or_none(store: Store) -> None:
    async def work() -> None:
        app = await store.apps.create("demo", by=ME)
        other = await store.apps.create("other", by=ME)
        assert await store.settings.change(app.id, {"grace_s": "5", "worker.grace_s": "60"}, by=ME) == {
            "grace_s": "5",
            "worker.grace_s": "60",
        }
        left = await store.settings.change(app.id, {"grace_s": None, "balance": "random", "nothing": None}, by=ME)
        assert left == {"balance": "random", "worker.grace_s": "60"}
        assert await store.settings.of(app.id) == left
        assert await store.settings.all() == {app.id: left}
        assert await store.settings.of(other.id) == {}

    run(work)


def test_an_app_goes_with_everything_but_its_audit_trail(store: Store) -> None:
    async def work() -> None:
        app = await store.apps.create("demo", by=ME, formation={"web": (1, "Unsized")})
        await store.settings.change(app.id, {"grace_s": "5"}, by=ME)
        assert (await store.apps.destroy(app.id, by=ME)).name == "demo"
        assert await store.apps.all() == ()
        assert await store.formation.all() == {}
        assert await store.settings.all() == {}
        actions = [entry.action for entry in await store.audit.newest(app_id=app.id)]
        assert actions == ["app.destroy", "settings.change", "app.create"]

    run(work)


def test_what_is_asked_of_an_app_that_is_gone_is_refused(store: Store) -> None:
    async def work() -> None:
        for change in (
            store.apps.rename(NOBODY, "demo", by=ME),
            store.apps.set_maintenance(NOBODY, on=True, by=ME),
            store.apps.destroy(NOBODY, by=ME),
            store.formation.set(NOBODY, {"web": (1, "Unsized")}, by=ME),
            store.formation.remove(NOBODY, ["web"], by=ME),
            store.settings.change(NOBODY, {"grace_s": "5"}, by=ME),
        ):
            with pytest.raises(UnknownAppError, match=f'no app with the id "{NOBODY}"'):
                await change
        assert await store.formation.of(NOBODY) == {}
        assert await store.audit.newest() == ()

    run(work)


def test_the_audit_trail_says_who_did_what_when_and_from_where(store: Store) -> None:
    async def work() -> None:
        them = Actor(name="them", origin="tcp 192.0.2.7")
        app = await store.apps.create("demo", by=ME)
        await store.apps.rename(app.id, "shop", by=them)
        await store.formation.set(app.id, {"web": (2, "Basic"), "clock": (1, "Unsized")}, by=ME)
        await store.formation.set(app.id, {"web": (2, "Basic")}, by=ME)  # as it is already: nothing to tell
        await store.settings.change(app.id, {"balance": "random", "worker.grace_s": None}, by=them)
        await store.settings.change(app.id, {"balance": None}, by=them)
        await store.audit.add("dynos.restart", by=ME, app=(app.id, "shop"), detail="web.1")
        await store.audit.add("auth.refuse", by=Actor(name="?", origin="tcp 192.0.2.8"))
        entries = await store.audit.newest()
        assert [(entry.action, entry.actor, entry.app_name, entry.detail) for entry in reversed(entries)] == [
            ("app.create", ME, "demo", ""),
            ("app.rename", them, "shop", "was demo"),
            ("formation.set", ME, "shop", "clock=1:Unsized web=2:Basic"),
            ("settings.change", them, "shop", "balance=random"),
            ("settings.change", them, "shop", "-balance"),
            ("dynos.restart", ME, "shop", "web.1"),
            ("auth.refuse", Actor(name="?", origin="tcp 192.0.2.8"), None, ""),
        ]
        assert [entry.at for entry in entries] == sorted((entry.at for entry in entries), reverse=True)
        assert [entry.id for entry in await store.audit.newest(limit=2)] == [entry.id for entry in entries[:2]]

    run(work)


def test_the_audit_trail_holds_any_text_and_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ENTRIES_KEPT", 3)

    async def work() -> None:
        for number in range(5):
            await store.audit.add(f"n.{number}", by=Actor(name="\udcff\0", origin="x" * 5000), detail="y" * 5000)
        entries = await store.audit.newest()
        assert [entry.action for entry in entries] == ["n.4", "n.3", "n.2"]
        assert entries[0].actor.name == "\\udcff\\0"
        assert len(entries[0].actor.origin) == len(entries[0].detail) == 2000

    run(work)
