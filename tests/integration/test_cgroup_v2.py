"""Version 2 of control groups with all of its controllers, which this machine may lack: in a guest with a kernel."""

import re
from typing import Any

import pytest

from dynod.core.dyno_limits import limit_lacks, limits_of, limits_of_all
from dynod.core.dyno_sizes import MB, SIZES
from support.counts import rounds
from support.kernel_guest import run_in_guest

KILLED = "Killed by the kernel: {} out of memory"
CRASHED = ["Process exited with status 137", "State changed from up to crashed"]

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.needs_ability("cgroup", reason="it is about control groups"),
]


def without_sample(lines: list[str]) -> list[str]:
    """From the kill on, and without what it used when it was last looked at."""
    first = next(index for index, line in enumerate(lines) if "kernel" in line)
    return [re.sub(r" \(it used .*", "", line) for line in lines[first:]]


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for report in reports for name, value in report.items()}


def test_the_kernel_holds_dynos_to_their_limits() -> None:
    """Each limit in its file, and what each does: memory of one and of all, processes, a quota and a share of CPU."""
    reports = run_in_guest("groups_probe", needs=("psutil",), memory_mb=512)
    found = merged(reports)
    limits = limits_of(SIZES["Standard-2X"])
    assert found["controllers"] == ["cpu", "memory", "pids"]
    assert limit_lacks(dict.fromkeys(found["controllers"], "")) == []
    assert found["sized"] == {
        "memory.max": str(limits["memory"]),
        "memory.high": str(limits["memory_high"] // 4096 * 4096),
        "pids.max": "512",
        "cpu.weight": "200",
        "cpu.max": "800000 100000",
    }
    assert (found["all"]["memory.max"], found["all"]["cpu.max"]) == (str(96 * MB), "max 100000")

    killed = {report["memory"]: report for report in reports if "memory" in report}
    assert {name: each["status"] for name, each in killed.items()} == {"own": -9, "all": -9}
    assert killed["own"]["says"] == "Killed by the kernel: the dyno was out of memory"
    assert killed["all"]["says"] == "Killed by the kernel: all dynos together were out of memory"
    assert all(each["other_lives"] for each in killed.values())

    assert found["forked"] == 19, "and the one that forks"
    assert found["quota"] < 0.3
    assert found["small"] < found["large"] / 3
    assert found["left"] is False

    assert found["container"] == found["again"] == "/sys/fs/cgroup/dynos", "alone in a container, it makes room"
    assert found["controls"] == ["cpu", "memory", "pids"]


@pytest.mark.skipif(not rounds(0, full=1), reason="a daemon in the guest, half a minute of CPU: DYNOD_TEST_FULL=1")
@pytest.mark.timeout(400)
def test_a_service_to_which_its_group_is_delegated_limits_its_dynos() -> None:
    """`dynod serve` as systemd starts it, not as root: its dynos are in containers, and nothing is left unlimited."""
    reports = run_in_guest("service_probe", needs=("dynod",), memory_mb=1700)
    found = merged(reports)
    for unsaid in ("does not limit", "have no control groups", "not kept apart"):
        assert not [lack for lack in [*found["lacks"], found["says"]] if unsaid in lack]
    assert found["daemon"] >= 2, "keeper and core have moved out of the way"
    assert found["unit"] == 0, "a group that hands controllers on has no process itself"

    limits = limits_of(SIZES["Standard-2X"])
    assert found["sized"] == {
        "memory.max": str(limits["memory"]),
        "memory.high": str(limits["memory_high"] // 4096 * 4096),
        "pids.max": "512",
        "cpu.weight": "200",
        "cpu.max": "800000 100000",
    }
    assert int(found["all"]["memory.max"]) // 4096 == limits_of_all(found["memory"])["memory"] // 4096
    assert found["where"] == "/app"
    assert 200 < found["forked"] < 256

    own, every = (without_sample(found[name]) for name in ("eater", "leaker"))
    assert own == [*KILLED.format("the dyno was").splitlines(), "Error R15 (Memory quota vastly exceeded)", *CRASHED]
    assert every == [*KILLED.format("all dynos together were").splitlines(), *CRASHED]
    assert found["pids_before"] == found["pids_after"]
    assert found["status"] == 0
    assert found["left"] == []
