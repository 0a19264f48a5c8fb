"""Where a process is in trees of control groups, by what the kernel says on machines of several kinds."""

import pytest

from dynod.keeper.own_groups import OwnGroup, own_groups, read

ID = "e0bbe4d94700"
MOUNT = "30 24 0:27 {root} {top} rw,nosuid,nodev,noexec,relatime shared:9 - {kind} {kind} {options}\n"


def mount(top: str, *, root: str = "/", kind: str = "cgroup", options: str = "rw") -> str:
    return MOUNT.format(root=root, top=top, kind=kind, options=options)


OTHERS = "22 28 0:20 / /sys rw - sysfs sysfs rw\n23 28 0:21 / /my\\040disk rw - ext4 /dev/vda rw\n"
V2 = mount("/sys/fs/cgroup", kind="cgroup2")


@pytest.mark.parametrize(
    ("mounts", "own", "expected"),
    [
        pytest.param(
            OTHERS + V2,
            "0::/system.slice/dynod.service\n",
            [OwnGroup(2, (), "/sys/fs/cgroup/system.slice/dynod.service", "/sys/fs/cgroup")],
            id="version 2",
        ),
        pytest.param(V2, "0::/\n", [OwnGroup(2, (), "/sys/fs/cgroup", "/sys/fs/cgroup")], id="its namespace's root"),
        pytest.param(
            mount("/sys/fs/cgroup/cpu,cpuacct", options="rw,cpu,cpuacct")
            + mount("/sys/fs/cgroup/systemd", options="rw,name=systemd")
            + mount("/sys/fs/cgroup/unified", kind="cgroup2"),
            "2:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/c\n",
            [
                OwnGroup(1, ("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct/a", "/sys/fs/cgroup/cpu,cpuacct"),
                OwnGroup(1, ("name=systemd",), "/sys/fs/cgroup/systemd/b", "/sys/fs/cgroup/systemd"),
                OwnGroup(2, (), "/sys/fs/cgroup/unified/c", "/sys/fs/cgroup/unified"),
            ],
            id="both versions",
        ),
        pytest.param(
            mount("/sys/fs/cgroup/memory", root=f"/docker/{ID}", options="rw,memory"),
            f"4:memory:/docker/{ID}\n0::/docker/{ID}\n",
            [OwnGroup(1, ("memory",), "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory")],
            id="Docker's, version 1: no namespace of groups",
        ),
        pytest.param(
            mount("/sys/fs/cgroup/memory", root=f"/docker/{ID}", options="rw,memory"),
            f"4:memory:/docker/{ID}/dynod-7\n",
            [OwnGroup(1, ("memory",), "/sys/fs/cgroup/memory/dynod-7", "/sys/fs/cgroup/memory")],
            id="below it",
        ),
        pytest.param(
            mount("/sys/fs/cgroup/memory", root="/docker/other", options="rw,memory")
            + mount("/sys/fs/cgroup/pids", root="/docker/ot", options="rw,pids"),
            f"4:memory:/docker/{ID}\n3:pids:/docker/other\n",
            [],
            id="somebody else's",
        ),
        pytest.param(mount("/sys/fs/cgroup", root="/../..", kind="cgroup2"), "0::/\n", [], id="from outside"),
        pytest.param(
            mount("/my\\040groups", kind="cgroup2"),
            "0::/a b\n",
            [OwnGroup(2, (), "/my groups/a b", "/my groups")],
            id="blanks",
        ),
        pytest.param(mount("/sys/fs/cgroup/cpu", options="rw,cpu"), "0::/\n", [], id="not in that tree"),
        pytest.param(OTHERS, "0::/\n", [], id="nothing mounted"),
    ],
)
def test_the_own_group_is_where_the_mount_shows_it(mounts: str, own: str, expected: list[OwnGroup]) -> None:
    assert list(read(mounts, own)) == expected


@pytest.mark.needs_ability("cgroup", reason="only Linux has control groups")
def test_what_this_machine_has_is_there_and_version_2_comes_first() -> None:
    versions = [each.version for each in own_groups()]
    assert versions == sorted(versions, reverse=True)
