"""Schemas: from each older one to the newest, a newer one opened or refused, copies, a step that fails.

`schemas/vN.sql` is a state as schema N left it. Whoever adds a step adds the dump of its schema, and edits no other.
"""

import asyncio
import re
import sqlite3
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dynod.store.audit import Actor
from dynod.store.errors import StoreError
from dynod.store.schema import APPLICATION_ID, MIGRATIONS, Migration
from dynod.store.store import Store, rehearse

ME = Actor(name="me", origin="test")
SCHEMAS = Path(__file__).parent / "schemas"
NEWEST = MIGRATIONS[-1].version

LATER = (
    *MIGRATIONS,
    Migration(
        version=NEWEST + 1,
        statements=(
            "ALTER TABLE apps ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'",
            "CREATE TABLE flags (app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE, name TEXT NOT NULL)",
            "INSERT INTO flags SELECT id, 'old' FROM apps",
        ),
    ),
)
BREAKING = (
    *MIGRATIONS,
    Migration(version=NEWEST + 1, statements=("DROP TABLE app_settings",), readable_from=NEWEST + 1),
)
FAILING = (
    *MIGRATIONS,
    Migration(version=NEWEST + 1, statements=("CREATE TABLE a (b)", "INSERT INTO apps (id) VALUES ('half')")),
)


def names(folder: Path, migrations: Sequence[Migration] = MIGRATIONS) -> list[str]:
    async def work(store: Store) -> list[str]:
        return [app.name for app in await store.apps.all()]

    store = Store.open(folder, migrations=migrations)
    try:
        return asyncio.run(work(store))
    finally:
        store.close()


def create(store: Store, name: str) -> None:
    async def work() -> None:
        await store.apps.create(name, by=ME, formation={"web": (1, "Unsized")})

    asyncio.run(work())


def state_with(folder: Path, *apps: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    store = Store.open(folder, migrations=migrations)
    for name in apps:
        create(store, name)
    store.close()


def look(folder: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(f"{(folder / 'state.db').as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def schema(folder: Path) -> list[tuple[object, ...]]:
    return look(folder, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")


def files(folder: Path) -> dict[str, bytes]:
    """What is in them; an empty journal, which SQLite makes to read, holds nothing."""
    read = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".db", ".db-wal"}}
    return {name: content for name, content in read.items() if content}


# --- the steps that there are ---------------------------------------------------------------------------------------


def test_steps_are_numbered_and_only_add() -> None:
    assert [step.version for step in MIGRATIONS] == list(range(1, NEWEST + 1))
    adds = re.compile(r"\s*(CREATE (TABLE|(UNIQUE )?INDEX)|ALTER TABLE \w+ ADD COLUMN|INSERT INTO|UPDATE)\b")
    assert [statement for step in MIGRATIONS for statement in step.statements if not adds.match(statement)] == []


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_a_state_of_each_schema_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    old = tmp_path / "old"
    old.mkdir(mode=0o700)
    connection = sqlite3.connect(old / "state.db")
    connection.executescript((SCHEMAS / f"v{version}.sql").read_text())
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()

    async def work(store: Store) -> None:
        (shop,) = await store.apps.all()
        assert (shop.name, shop.folder, shop.maintenance) == ("shop", Path("/srv/shop"), True)
        assert shop.created_at == datetime(2026, 1, 1, tzinfo=UTC)
        assert {name: (row.quantity, row.size) for name, row in (await store.formation.of(shop.id)).items()} == {
            "web": (2, "Standard-1X"),
            "worker": (0, "Unsized"),
        }
        assert await store.settings.of(shop.id) == {"worker.grace_s": "120"}
        assert [entry.action for entry in await store.audit.newest()] == ["app.create"]

    store = Store.open(old)
    asyncio.run(work(store))
    store.close()
    fresh = tmp_path / "fresh"
    state_with(fresh)
    assert schema(old) == schema(fresh)


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_a_step_that_was_released_is_as_its_dump_has_it(tmp_path: Path, version: int) -> None:
    """Editing a step would leave the states that have made it behind."""
    state_with(tmp_path / "made", migrations=MIGRATIONS[:version])
    dumped = tmp_path / "dumped"
    dumped.mkdir()
    connection = sqlite3.connect(dumped / "state.db")
    connection.executescript((SCHEMAS / f"v{version}.sql").read_text())
    connection.close()
    assert schema(tmp_path / "made") == schema(dumped)


# --- steps to come --------------------------------------------------------------------------------------------------


def test_a_later_step_finds_what_was_there_and_is_made_once(tmp_path: Path) -> None:
    state_with(tmp_path / "state", "demo")
    assert names(tmp_path / "state", LATER) == names(tmp_path / "state", LATER) == ["demo"]
    assert look(tmp_path / "state", "SELECT name, colour FROM apps") == [("demo", "blue")]
    assert look(tmp_path / "state", "SELECT name FROM flags") == [("old",)]
    assert look(tmp_path / "state", "PRAGMA user_version") == [(NEWEST + 1,)]


def test_the_dynod_before_goes_on_with_what_was_only_added_to(tmp_path: Path) -> None:
    state_with(tmp_path / "state", "demo", migrations=LATER)
    before = schema(tmp_path / "state")
    state_with(tmp_path / "state", "second")  # this dynod does not know the new tables
    assert names(tmp_path / "state", LATER) == ["demo", "second"]
    assert schema(tmp_path / "state") == before
    assert look(tmp_path / "state", "SELECT name, colour FROM apps WHERE name = 'second'") == [("second", "blue")]


def test_what_only_a_newer_dynod_can_work_with_is_refused_and_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    state_with(folder, "demo")
    state_with(folder, migrations=BREAKING)
    before = files(folder)
    with pytest.raises(StoreError) as caught:
        Store.open(folder)
    (copy,) = folder.glob("state-before-*")
    assert str(caught.value) == (
        f"state {folder}/state.db: it was written by a newer dynod (schema {NEWEST + 1}, this one knows up to "
        f"{NEWEST}), and was not touched: run that one again, or put a copy from before in its place "
        f"(the newest is {copy})"
    )
    with pytest.raises(StoreError, match="written by a newer dynod"):
        rehearse(folder)
    assert files(folder) == before


def test_a_newer_state_is_left_alone_also_where_only_its_journal_says_so(tmp_path: Path) -> None:
    """A newer dynod that was killed right after its migration: the file itself is still of the old schema."""
    folder, killed = tmp_path / "state", tmp_path / "killed"
    state_with(folder, "demo")
    store = Store.open(folder, migrations=BREAKING)
    killed.mkdir(mode=0o700)
    for name in ("state.db", "state.db-wal"):
        (killed / name).write_bytes((folder / name).read_bytes())
    store.close()
    before = files(killed)
    assert before["state.db-wal"]
    with pytest.raises(StoreError, match="written by a newer dynod"):
        Store.open(killed)
    assert files(killed) == before
    state_with(killed, migrations=BREAKING)


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    state_with(folder, "demo")
    before = schema(folder)
    with pytest.raises(sqlite3.IntegrityError):  # a bug in a step: it shows as one
        Store.open(folder, migrations=FAILING)
    assert names(folder) == ["demo"]
    assert schema(folder) == before


def test_a_copy_is_made_before_a_change_and_the_newest_five_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    state_with(folder, "demo")
    assert list(folder.glob("state-before-*")) == [], "a new state has nothing to copy"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    steps = list(MIGRATIONS)
    for number in range(7):
        now += timedelta(days=1)
        steps.append(Migration(version=steps[-1].version + 1, statements=(f"CREATE TABLE later_{number} (a)",)))
        Store.open(folder, migrations=steps, clock=lambda: now).close()  # noqa: B023 (called before it changes)
        create_one = Store.open(folder, migrations=steps)
        create(create_one, f"app-{number}")
        create_one.close()
    copies = sorted(folder.glob("state-before-*"))
    assert [copy.name for copy in copies] == [
        f"state-before-2026010{day}T000000.000000Z-v{NEWEST + day - 2}.db" for day in range(4, 9)
    ]
    assert {stat.S_IMODE(copy.stat().st_mode) for copy in copies} == {0o600}
    back = tmp_path / "back"
    back.mkdir(mode=0o700)
    copies[0].rename(back / "state.db")
    assert names(back) == ["app-0", "app-1", "demo"], "what was there before the third change"
    assert sorted(path.suffix for path in folder.iterdir()) == [".db"] * 5 + [".lock"]


def test_a_copy_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    state_with(folder, "demo")
    (folder / "state-copying.db").write_bytes(b"half")
    assert names(folder, LATER) == ["demo"]
    assert len(list(folder.glob("state-before-*"))) == 1
    assert not (folder / "state-copying.db").exists()


# --- the rehearsal of an upgrade ------------------------------------------------------------------------------------


def test_a_migration_is_tried_on_a_copy_while_another_has_the_state(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    store = Store.open(folder)
    create(store, "demo")
    before = files(folder)
    rehearse(folder, migrations=LATER)
    with pytest.raises(sqlite3.IntegrityError):
        rehearse(folder, migrations=FAILING)
    assert files(folder) == before
    create(store, "second")
    store.close()
    assert names(folder) == ["demo", "second"]


def test_where_there_is_no_state_there_is_nothing_to_try(tmp_path: Path) -> None:
    rehearse(tmp_path / "none")
    assert not (tmp_path / "none").exists()
