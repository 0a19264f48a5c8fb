"""The file: who may have it, in which mode, what foreign, damaged, removed and locked files lead to; concurrency."""

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from dynod.store import database
from dynod.store.audit import Actor
from dynod.store.errors import NameTakenError, StoreError
from dynod.store.store import Store

ME = Actor(name="me", origin="test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    opened = Store.open(folder)
    yield opened
    opened.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def create(store: Store, name: str) -> None:
    async def work() -> None:
        await store.apps.create(name, by=ME)

    run(work)


def names(store: Store) -> list[str]:
    async def work() -> list[str]:
        return [app.name for app in await store.apps.all()]

    return asyncio.run(work())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(folder: Path) -> str:
    with pytest.raises(StoreError) as caught:
        Store.open(folder)
    return str(caught.value)


# --- modes and ownership --------------------------------------------------------------------------------------------


def test_nobody_else_can_read_the_state(folder: Path) -> None:
    old = os.umask(0)
    try:
        store = Store.open(folder)
        create(store, "demo")
        found = {path.name: mode(path) for path in folder.iterdir()}
        store.close()
    finally:
        os.umask(old)
    assert found == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm", "state.lock"), 0o600)
    assert mode(folder) == 0o700


def test_modes_that_were_loosened_are_tightened(folder: Path) -> None:
    Store.open(folder).close()
    folder.chmod(0o755)
    (folder / "state.db").chmod(0o644)
    Store.open(folder).close()
    assert (mode(folder), mode(folder / "state.db")) == (0o700, 0o600)


def test_a_folder_that_is_plainly_for_something_else_is_refused_and_left_as_it_is(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "somebodys.txt").touch()
    assert refusal(folder).startswith(f"state folder {folder}: expected an empty folder, or one of yours")
    assert mode(folder) == 0o755
    assert [path.name for path in folder.iterdir()] == ["somebodys.txt"]


def test_two_dynods_do_not_share_a_state(folder: Path, store: Store) -> None:
    assert refusal(folder) == (
        f"state {store.path}: another dynod (pid {os.getpid()}) has it: stop that one, or choose another folder"
    )
    store.close()
    Store.open(folder).close()


def test_a_change_is_forced_to_the_disk_and_rows_hang_together(store: Store) -> None:
    def pragmas(connection: sqlite3.Connection) -> list[object]:
        return [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        ]

    async def work() -> None:
        assert await store._database.read(pragmas) == ["wal", 2, 1, 1]

    run(work)


def test_after_a_clean_end_everything_is_in_the_one_file(folder: Path) -> None:
    store = Store.open(folder)
    create(store, "demo")
    store.close()
    store.close()
    assert sorted(path.name for path in folder.iterdir()) == ["state.db", "state.lock"]
    store = Store.open(folder)
    assert names(store) == ["demo"]
    store.close()


# --- what is no state of dynod's, or no longer one ------------------------------------------------------------------


def test_another_programs_database_is_refused_and_left_as_it_is(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    with sqlite3.connect(folder / "state.db") as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = (folder / "state.db").read_bytes()
    assert "this is a SQLite file of another program" in refusal(folder)
    assert (folder / "state.db").read_bytes() == before


def test_a_file_that_is_no_database_is_refused_with_what_to_do(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "state.db").write_bytes(b"nonsense" * 1000)
    said = refusal(folder)
    assert said.startswith(f"state {folder}/state.db: it is damaged, or no file of dynod's at all (file is not a")
    assert said.endswith(f"move {folder}/state.db away to begin with no apps")


def test_an_empty_file_is_a_state_with_nothing_in_it(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "state.db").touch()
    store = Store.open(folder)
    assert names(store) == []
    store.close()


def test_damage_is_found_after_an_unclean_end(folder: Path, tmp_path: Path) -> None:
    store = Store.open(folder)
    for number in range(200):
        create(store, f"app-{number}")
    store.close()
    store = Store.open(folder)
    create(store, "one-more")
    killed = tmp_path / "killed"
    killed.mkdir(mode=0o700)
    for name in ("state.db", "state.db-wal"):  # what a kill leaves
        (killed / name).write_bytes((folder / name).read_bytes())
    store.close()
    with (killed / "state.db").open("r+b") as file:  # pages that the journal does not hold again
        size = file.seek(0, os.SEEK_END)
        for at in range(5 * 4096, size, 4096):
            file.seek(at)
            file.write(b"\xa5" * 4096)
    said = refusal(killed)
    assert said.startswith(f"state {killed}/state.db: it is damaged (")
    assert said.endswith(f"move {killed}/state.db away to begin with no apps")


def test_a_damaged_state_names_the_newest_copy(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "state.db").write_bytes(b"nonsense" * 1000)
    for day in (1, 2):
        (folder / f"state-before-2026010{day}T000000.000000Z-v1.db").touch()
    newest = f"{folder}/state-before-20260102T000000.000000Z-v1.db"
    assert f"put a copy in its place (the newest here is {newest}), or move" in refusal(folder)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_state_that_is_removed_under_dynod_acknowledges_nothing_more(
    folder: Path, store: Store, replaced: bool
) -> None:
    create(store, "demo")
    moved = folder / "moved"
    (folder / "state.db").rename(moved)
    if replaced:
        (folder / "state.db").touch()
    with pytest.raises(StoreError, match="it was removed or replaced while dynod runs"):
        create(store, "other")
    moved.rename(folder / "state.db")
    create(store, "another")
    assert names(store) == ["another", "demo"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file" / "state").startswith(f"state {tmp_path}/file/state/state.db: {tmp_path}/file")


# --- concurrency ----------------------------------------------------------------------------------------------------


def test_of_many_who_want_a_name_one_gets_it(store: Store) -> None:
    async def work() -> None:
        results = await asyncio.gather(*(store.apps.create("demo", by=ME) for _ in range(50)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, BaseException)]
        assert len(refused) == 49
        assert all(isinstance(error, NameTakenError) for error in refused)

    run(work)


def test_many_changes_at_once_are_all_kept(folder: Path, store: Store) -> None:
    async def work() -> None:
        apps = await asyncio.gather(*(store.apps.create(f"app-{n}", by=ME) for n in range(20)))
        await asyncio.gather(
            *(store.formation.set(app.id, {f"t{n}": (n, "Unsized")}, by=ME) for app in apps for n in range(10)),
            *(store.settings.change(app.id, {"grace_s": str(n)}, by=ME) for n, app in enumerate(apps)),
        )

    async def look(again: Store) -> None:
        formation, settings = await again.formation.all(), await again.settings.all()
        for app in await again.apps.all():
            assert {name: row.quantity for name, row in formation[app.id].items()} == {f"t{n}": n for n in range(10)}
            assert settings[app.id] == {"grace_s": app.name.removeprefix("app-")}

    run(work)
    store.close()
    again = Store.open(folder)
    asyncio.run(look(again))
    again.close()


class Stuck:
    """Occupies the store's thread until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE apps SET maintenance = 1")
        self.entered.set()
        assert self.go.wait(30)


def test_the_loop_goes_on_while_the_disk_is_slow_and_a_cancelled_call_is_whole_or_nothing(store: Store) -> None:
    async def work() -> None:
        await store.apps.create("demo", by=ME)
        stuck = Stuck()
        under_way = asyncio.ensure_future(store._database.write(stuck))
        assert await asyncio.to_thread(stuck.entered.wait, 30)  # the loop runs, though the store's thread does not
        waiting = asyncio.ensure_future(store.apps.create("other", by=ME))
        await asyncio.sleep(0)
        for task in (under_way, waiting):
            task.cancel()
        await asyncio.wait({under_way, waiting})
        stuck.go.set()
        (app,) = await store.apps.all()
        assert app.maintenance, "what was under way is carried through"
        assert store._database._waiting == 0

    run(work)


def test_too_many_calls_at_once_are_refused_and_counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MOST_WAITING", 3)

    async def work() -> None:
        await store.apps.create("demo", by=ME)
        stuck = Stuck()
        calls: list[asyncio.Future[object]] = [asyncio.ensure_future(store._database.write(stuck))]
        calls += [asyncio.ensure_future(store.apps.find("demo")) for _ in range(4)]
        assert await asyncio.to_thread(stuck.entered.wait, 30)
        stuck.go.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(result, StoreError) for result in results] == [False, False, False, True, True]
        assert store.refused == 2
        assert await store.apps.find("demo") is not None

    run(work)


def test_a_program_that_locks_the_state_is_said_and_survived(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    store = Store.open(folder)
    create(store, "demo")
    shell = sqlite3.connect(folder / "state.db", isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    assert names(store) == ["demo"], "reading does not wait for it"
    with pytest.raises(StoreError, match="another program has locked it, and nothing was changed"):
        create(store, "other")
    shell.execute("ROLLBACK")
    shell.close()
    create(store, "other")
    assert names(store) == ["demo", "other"]
    store.close()


def test_a_bug_in_a_statement_shows_as_one_and_leaves_the_store_usable(store: Store) -> None:
    async def work() -> None:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await store._database.write(lambda connection: connection.execute("DELETE FROM nowhere"))

    run(work)
    create(store, "demo")


def test_a_closed_store_says_so(folder: Path) -> None:
    store = Store.open(folder)
    store.close()
    with pytest.raises(StoreError, match="it is closed; try again in a moment"):
        create(store, "demo")


def test_an_open_that_is_refused_leaves_no_thread_and_no_descriptor(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "state.db").write_bytes(b"nonsense" * 1000)
    refusal(folder)
    threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        refusal(folder)
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == (threads, descriptors)
