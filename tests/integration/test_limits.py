"""What the kernel holds dynos to, by its own figures: memory of all dynos together, a share of CPU, a quota of it."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynod.core.dyno_limits import limits_of
from dynod.core.dyno_sizes import UNSIZED
from dynod.keeper import cgroups, controllers
from dynod.keeper.protocol import Confine, Confined, Gone, Spawned, Stop
from support.app_folder import toy
from support.keeper import KeeperRun, read_until
from support.serve import Serve, ServedApp, is_alive

ALL_MB = 160
LEAK_MB = 300  # beyond what all may have, and below what the dyno's own size lets it have
TICKS = os.sysconf("SC_CLK_TCK")

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.needs_ability("cgroup", reason="limits are kept by control groups"),
]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    toml = f"[dynos]\ntotal_memory_mb = {ALL_MB}\nrestart = [3600]\n"
    groups = cgroups.find(os.getpid())
    found = controllers.find(os.getpid(), groups)
    if groups is not None:
        groups.remove_all()
    if found is None or len(found.folders) < len(controllers.CONTROLLERS):
        pytest.skip("this user has no control groups that limit memory, processes and CPU here")
    found.remove_all()
    with Serve(tmp_path_factory.mktemp("limits") / "state", toml=toml) as running:
        running.wait_until_ready()
        status = json.loads(running.done("status", "--json").stdout)
        assert not [lack for lack in status["lacks"] if "does not limit" in lack], "and nothing else is said"
        assert "does not limit" not in str(running.output)
        yield running


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def platform_lines(app: ServedApp, dyno: str) -> list[str]:
    return [line.partition(": ")[2] for line in app.log() if line.startswith(f"heroku[{dyno}]")]


def test_a_leak_beyond_what_all_dynos_may_have_ends_the_dyno_that_leaks(serve: Serve, tmp_path: Path) -> None:
    """It is within its own quota; other dynos, of any app, dynod and everybody else on the machine go on."""
    grows, waits = toy("grows", 20, LEAK_MB), toy("grows", 20)
    leaky = serve.app(tmp_path, "leaky", procfile={"leaker": grows, "other": waits}, quantities={"other": 1})
    calm = serve.app(tmp_path, "calm", procfile={"worker": waits}, quantities={"worker": 1})
    leaky.scale("leaker=1:standard-1x")
    leaky.wait_for_log(r"app\[leaker\.1\]: has 20 MB")
    leaky.wait_for_log(r"app\[other\.1\]: has 20 MB")
    calm.wait_for_log(r"app\[worker\.1\]: has 20 MB")
    before = (serve.pid, serve.core_pid(), leaky.pids()["other.1"], calm.pids()["worker.1"])
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as outsider:
        leaker = leaky.pids()["leaker.1"]
        assert leaker is not None
        os.kill(leaker, signal.SIGUSR1)
        leaky.wait_for_log(r"heroku\[leaker\.1\]: Starting again in")
        assert outsider.communicate(b"still there")[0] == b"still there"
    said = platform_lines(leaky, "leaker.1")
    killed = next(index for index, line in enumerate(said) if "kernel" in line)
    assert re.fullmatch(
        r"Killed by the kernel: all dynos together were out of memory( \(it used \d+M when last looked at\))?",
        said[killed],
    )
    assert said[killed + 1 : killed + 3] == ["Process exited with status 137", "State changed from up to crashed"]
    assert not any("R14" in line or "R15" in line for line in said), "it was within its own quota"
    assert (serve.pid, serve.core_pid(), leaky.pids()["other.1"], calm.pids()["worker.1"]) == before
    assert all(map(is_alive, before))
    why = serve.done("ps", "--why", "leaker.1", "-a", "leaky").stdout
    assert said[killed] in why
    for app in (leaky, calm):
        serve.done("apps:destroy", app.name, "--confirm", app.name)


def test_a_larger_dyno_has_more_of_a_processor_that_two_want(serve: Serve, tmp_path: Path) -> None:
    """By what the kernel counts, on one processor: nothing else on the machine can turn it round."""
    gate, processor = tmp_path / "gate", min(os.sched_getaffinity(0))
    os.mkfifo(gate)
    command = toy("burns", 0.6, "--processor", processor, "--gate", gate)
    app = serve.app(tmp_path, "busy", procfile={"small": command, "large": command}, quantities={})
    app.scale("small=1:standard-1x", "large=1:performance-m")
    pids = {kind: int(app.wait_for_log(rf"app\[{kind}\.1\]: ready").rpartition("=")[2]) for kind in ("small", "large")}
    before = {kind: cpu_s(pid) for kind, pid in pids.items()}
    gate.write_text("both\n")
    app.wait_for_log(r"app\[large\.1\]: burnt 0\.6")
    used = {kind: cpu_s(pid) - before[kind] for kind, pid in pids.items()}
    assert used["small"] < used["large"] / 3, f"{used}: by their sizes one has a twelfth of the other"
    serve.done("apps:destroy", "busy", "--confirm", "busy")


def test_a_quota_of_cpu_is_never_exceeded() -> None:
    """A fifth of a processor: nobody's load can make that more."""
    with KeeperRun() as keeper:
        core = keeper.next_core()
        core.be_ready()
        core.send(Confine({}))
        folders = core.expect(Confined).folders
        if "cpu" not in folders:
            core.close()
            pytest.skip("this user has no control groups that limit CPU here")
        limits = {**limits_of(UNSIZED), "cpu_percent": 20}
        core.send(keeper.spawn("one", toy("burns", 0.1, 0.4).split())._replace(limits=limits))
        spawned, output = core.expect_with_fd(Spawned, "one")
        read_until(output, b"burnt 0.1\n")
        began, before = time.monotonic(), cpu_s(spawned.pid)
        read_until(output, b"burnt 0.4\n")
        used, elapsed = cpu_s(spawned.pid) - before, time.monotonic() - began
        assert used > 0.2
        assert used / elapsed < 0.3
        stat = Path(folders["cpu"], "one", "cpu.stat").read_text()
        assert int(dict(line.split() for line in stat.splitlines())["nr_throttled"]) > 0
        core.send(Stop("one", signal.SIGKILL, 0.0))
        core.expect(Gone, "one")
