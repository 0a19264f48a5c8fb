"""Dynos are started and stopped again and again in one daemon: afterwards it holds what it held before."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from dynod.keeper import cgroups
from support.app_folder import toy
from support.counts import rounds
from support.processes import zombies_of
from support.serve import Serve, ServedApp
from support.up import eventually

ROUNDS = rounds(30, full=1000)
WARM_UP = 5  # rounds after which caches, pools and threads are as they stay
MOST_THREADS = 12  # the writer's, the store's, the samplers', and Python's pool of processors + 4
MOST_GROWTH = 12 << 20  # of the own memory of each: three pages a round would be more in 1,000 rounds
# Two that obey, one that leaves a daemon behind and does not, one that ends by itself, and one that listens.
PROCFILE = {
    "web": toy("web_server"),
    "worker": "sleep 1000",
    "messy": "sh -c '(setsid sleep 1000 &) ; (sleep 1000 &) ; exec sleep 1000'",
    "ends": "sh -c 'echo half; printf line'",
}
pytestmark = pytest.mark.timeout(rounds(180, full=3000))


class Holdings(NamedTuple):
    """What may leak."""

    keeper_fds: int
    core_fds: int
    processes: int
    zombies: int
    groups: int
    runtime_files: tuple[str, ...]
    state_files: tuple[str, ...]


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory(pid: int) -> int:
    """Resident bytes of its own."""
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) << 10 for line in fields.splitlines() if line.startswith("Private_"))


def names_below(folder: Path) -> tuple[str, ...]:
    """Log segments are named by time and come and go by their own rules."""
    return tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "logs" not in path.parts))


def holdings(serve: Serve, core: int) -> Holdings:
    found = cgroups.find(serve.pid)
    return Holdings(
        keeper_fds=descriptors(serve.pid),
        core_fds=descriptors(core),
        processes=len(serve.processes()),
        zombies=len(zombies_of(serve.pid)),
        groups=len([path for path in Path(found.root).iterdir() if path.is_dir()]) if found is not None else 0,
        runtime_files=names_below(serve.runtime),
        state_files=names_below(serve.state),
    )


def temporary_files() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).iterdir() if "dynod" in path.name}


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def one_round(app: ServedApp) -> None:
    app.scale("web=1", "worker=2", "messy=1", "ends=1")
    eventually(
        lambda: (
            {dyno: state for dyno, state in app.states().items() if dyno != "ends.1"}
            == dict.fromkeys(("web.1", "worker.1", "worker.2", "messy.1"), "up")
        ),
        what="everything up",
    )
    app.scale("web=0", "worker=0", "messy=0", "ends=0")
    app.wait_until({})


def test_nothing_is_left_of_dynos_that_come_and_go(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", toml="[dynos]\nmessy.grace_s = 0.2\n") as serve:
        app = serve.app(tmp_path, "shop", procfile=PROCFILE, quantities={"web": 0})
        core = serve.core_pid()
        for _ in range(WARM_UP):
            one_round(app)
        files = temporary_files()
        before, sizes = holdings(serve, core), (memory(serve.pid), memory(core))
        for _ in range(ROUNDS):
            one_round(app)
        eventually(
            lambda: holdings(serve, core) == before,
            what=f"what there was before, {before}; now {holdings(serve, core)}",
        )
        assert threads(core) <= MOST_THREADS
        assert not [name for name in temporary_files() - files if str(serve.pid) in name or str(core) in name]
        grown = [after - was for was, after in zip(sizes, (memory(serve.pid), memory(core)), strict=True)]
        print(f"{ROUNDS} rounds: keeper and core grew by {grown} bytes, to {memory(serve.pid)} and {memory(core)}")
        assert max(grown) <= MOST_GROWTH
        assert serve.core_pid() == core
