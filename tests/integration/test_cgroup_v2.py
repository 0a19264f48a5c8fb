"""Version 2 of control groups with all of its controllers, which this machine may lack: in a guest with a kernel."""

from typing import Any

import pytest

from dynod.core.dyno_limits import limits_of
from dynod.core.dyno_sizes import MB, SIZES
from support.kernel_guest import run_in_guest

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.needs_ability("cgroup", reason="it is about control groups"),
]


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for report in reports for name, value in report.items()}


def test_the_kernel_holds_dynos_to_their_limits() -> None:
    """Each limit in its file, and what each does: memory of one and of all, processes, a quota and a share of CPU."""
    reports = run_in_guest("groups_probe", needs=("psutil",), memory_mb=512)
    found = merged(reports)
    limits = limits_of(SIZES["Standard-2X"])
    assert found["controllers"] == ["cpu", "memory", "pids"]
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
