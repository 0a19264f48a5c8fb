"""What was acknowledged is there: over kills at random moments, on a full disk, on a read-only one."""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dynod.store.store import Store
from support.source_tree import REPOSITORY

TOYS = REPOSITORY / "tests" / "toys"
ROUNDS = 50
WRITERS = 4
LONGEST_LIFE_S = 0.15
EARLY_KILLS = 0.2  # the share of those that may meet the opening
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def killed_writer(folder: Path, life_s: float, *, once_it_writes: bool) -> dict[int, int]:
    """Let the toy write, kill it so long after it began to (or after its exec); returns what each writer was told."""
    child = subprocess.Popen(
        [sys.executable, TOYS / "store_writer.py", folder, str(WRITERS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        bufsize=0,  # a buffer of readline's would keep from communicate() what was said right after the first line
    )
    assert child.stdout is not None
    first = child.stdout.readline() if once_it_writes else b""
    try:
        said, complained = child.communicate(timeout=life_s)  # the moment is the point: nothing is waited for
    except subprocess.TimeoutExpired:
        child.kill()
        said, complained = child.communicate()
    assert child.returncode == -signal.SIGKILL, complained.decode()
    acknowledged: dict[int, int] = {}
    for line in (first + said).decode().splitlines():
        writer, number = map(int, line.split())
        acknowledged[writer] = number
    return acknowledged


def steps_in(folder: Path, copy: Path) -> dict[int, int]:
    """Each writer's last step as a copy of the state has it: the next writer is to meet what this one left."""
    if not (folder / "state.db").exists():
        return {}
    copy.mkdir(mode=0o700)
    for name in ("state.db", "state.db-wal"):
        if (folder / name).exists():
            shutil.copy(folder / name, copy / name)
    Store.open(copy).close()  # recovers, and checks the whole file if it ended uncleanly
    connection = sqlite3.connect(copy / "state.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    steps = {}
    for app_id, name in connection.execute("SELECT id, name FROM apps").fetchall():
        trail = [
            int(actor.removeprefix("step "))
            for (actor,) in connection.execute("SELECT actor FROM audit WHERE app_id = ? ORDER BY id", (app_id,))
        ]
        last = trail[-1]
        assert trail == list(range(last + 1)), "each step has its entry, once"
        even, odd = (last, last - 1) if last % 2 == 0 else (last - 1, last)
        quantities = connection.execute("SELECT quantity FROM formation WHERE app_id = ?", (app_id,)).fetchall()
        assert quantities == ([(even,)] * 2 if even > 0 else []), "no half change"
        values = connection.execute("SELECT value FROM app_settings WHERE app_id = ?", (app_id,)).fetchall()
        assert values == ([(str(odd),)] * 2 if odd > 0 else []), "no half change"
        steps[int(name.removeprefix("writer-"))] = last
    connection.close()
    shutil.rmtree(copy)
    return steps


@pytest.mark.timeout(180)
def test_what_was_acknowledged_survives_kills_at_random_moments(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    folder = tmp_path / "state"
    known: dict[int, int] = {}
    for number in range(ROUNDS):
        once_it_writes = chance.random() >= EARLY_KILLS
        acknowledged = killed_writer(folder, chance.uniform(0.0, LONGEST_LIFE_S), once_it_writes=once_it_writes)
        assert acknowledged or not once_it_writes
        there = steps_in(folder, tmp_path / "copy")
        for writer, step in {**known, **acknowledged}.items():
            assert there[writer] in {step, step + 1}, f"round {number}: writer {writer} was told {step}"
        known = there
    store = Store.open(folder)  # the last one left nothing that holds it
    store.close()


def full_disk(*command: object) -> dict[str, Any]:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_files_that_may_not_grow_are_an_error_and_nothing_else(tmp_path: Path) -> None:
    report = full_disk(sys.executable, TOYS / "store_on_full_disk.py", tmp_path, "limit")
    assert report["while_full"] == report["after_restart"] == report["acknowledged"]
    assert report["in_the_end"] == sorted([*report["acknowledged"], "last"])
    for said in report["said"]:
        assert said.startswith(f"state {tmp_path}/state/state.db: ")
        assert re.search(r"nothing was changed: .*dynod goes on by itself", said)


def mounting() -> list[str]:
    """How a command gets mounts of its own here."""
    for way in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        try:
            done = subprocess.run([*way, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
        except FileNotFoundError:
            break
        if done.returncode == 0:
            return way
    pytest.skip("NOT TESTED: this machine lets nobody mount a small file system (unshare --mount)")


def test_a_full_disk_is_an_error_until_there_is_room(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=1m,mode=700 none "$1" && exec "$2" "$3" "$1" filler'
    report = full_disk(
        *(*mounting(), "sh", "-c", script, "sh", tmp_path, sys.executable, TOYS / "store_on_full_disk.py")
    )
    assert report["while_full"] == report["after_restart"] == report["acknowledged"]
    assert report["in_the_end"] == sorted([*report["acknowledged"], "last"])
    message = "the disk is full, and nothing was changed: free some space; dynod goes on by itself then"
    assert set(report["said"]) == {f"state {tmp_path}/state/state.db: {message}"}


def test_a_read_only_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    Store.open(tmp_path / "state").close()
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1"'
    code = """if True:
        import sys
        from pathlib import Path
        from dynod.errors import DynodError
        from dynod.store.store import Store
        try:
            Store.open(Path(sys.argv[1]) / "state")
        except DynodError as error:
            print(error)
    """
    done = subprocess.run(
        [*mounting(), "sh", "-c", script, "sh", tmp_path, sys.executable, code],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    where = f"{tmp_path}/state/state"
    assert done.stdout == f"state {where}.db: {where}.lock: Read-only file system\n"
