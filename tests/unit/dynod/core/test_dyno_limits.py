"""What the kernel holds dynos to."""

import pytest

from dynod.core.dyno_limits import PROCESSES_UNSIZED, limit_lacks, limits_of, limits_of_all
from dynod.core.dyno_sizes import GB, MB, SIZES, UNSIZED


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_dyno_is_killed_where_r15_would_end_it(size: object) -> None:
    known = SIZES[getattr(size, "name", "")]
    limits = limits_of(known)
    if known.memory is None:
        assert "memory" not in limits
    else:
        assert limits["memory"] == int(known.memory * known.kill_share)
        assert known.memory < limits["memory_high"] < limits["memory"]
    assert limits["processes"] == (known.processes or PROCESSES_UNSIZED)
    assert 1 <= limits["cpu_weight"] <= 10_000


def test_shares_of_cpu_are_as_sizes_have_them() -> None:
    one, two = (limits_of(SIZES[name]) for name in ("Standard-1X", "Standard-2X"))
    assert (one["cpu_weight"], two["cpu_weight"]) == (100, 200)
    assert (one["cpu_percent"], two["cpu_percent"]) == (400, 800)
    assert "cpu_percent" not in limits_of(UNSIZED)
    assert "cpu_percent" not in limits_of(SIZES["Performance-M"])


def test_where_no_group_counts_an_app_has_room_for_dynos_at_their_limit() -> None:
    for size in SIZES.values():
        each, shared = limits_of(size), limits_of(size, counted=False)
        assert "user_processes" not in each
        assert shared["processes"] <= shared["user_processes"] <= max(PROCESSES_UNSIZED, shared["processes"])
    assert limits_of(SIZES["Basic"], counted=False)["user_processes"] == 4096


@pytest.mark.parametrize(
    ("memory", "left"),
    [
        (24 * GB, 24 * GB // 5),
        (GB, 512 * MB),
        (2 * GB, 512 * MB),
        (800 * MB, 288 * MB),
        (600 * MB, 120 * MB),
        (250 * MB, 50 * MB),
    ],
)
def test_all_dynos_leave_something_to_everybody_else(memory: int, left: int) -> None:
    assert memory - limits_of_all(memory)["memory"] == pytest.approx(left, rel=0.01)


def test_all_dynos_have_what_was_asked_for() -> None:
    assert limits_of_all(24 * GB, most_mb=160) == {"memory": 160 * MB}


@pytest.mark.parametrize(
    ("controllers", "missing"),
    [
        ({"memory": "/m", "pids": "/p", "cpu": "/c"}, None),
        ({"memory": "/m"}, "in how many processes they have, CPU:"),
        ({}, "in memory, how many processes they have, CPU:"),
    ],
)
def test_what_cannot_be_kept_is_said(controllers: dict[str, str], missing: str | None) -> None:
    said = limit_lacks(controllers)
    assert (said == []) is (missing is None)
    assert missing is None or missing in said[0]
    assert limit_lacks({**controllers, "ports": "/"}, apart=True) == said
    assert limit_lacks(controllers, apart=True)[-1].startswith(
        "dynos can take the ports of others that do not listen: "
    )
    (by_users,) = limit_lacks({"memory": "/m"}, own_users=True)
    assert by_users.endswith(", but processes of an app by its user")
