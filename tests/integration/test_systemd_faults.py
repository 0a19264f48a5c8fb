"""What breaks the service of a machine: killed, hung and starved processes, a full disk, many dynos. Nobody notices.

On the guest of test_systemd_service.py. The load is that of contracts 9; requests in flight die with the core that has
them, and nothing else does.
"""

import contextlib
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from support.booted import Booted
from support.counts import rounds
from support.guest_load import Load
from support.service_guest import (
    DOMAIN,
    STATE,
    FullDisk,
    ask,
    core_of,
    dynos,
    is_whole,
    pids,
    replace_core,
    starved,
    status,
    wait_for_another_core,
    wait_until_whole,
)
from support.steady_load import CONNECTIONS
from support.up import eventually

pytestmark = [pytest.mark.timeout(rounds(400, full=2400)), pytest.mark.usefixtures("leaves_it_whole")]

OF_A_DYNO = 3  # processes of one in a container, whose program has no children
KILLS = rounds(1, full=20)
STARVED = rounds(1, full=5)
MANY = rounds(20, full=500)
BOOTS = rounds(1, full=3)  # with a full disk
FULL_S = rounds(1, full=600)  # seconds that the disk is full for


# --- what breaks ----------------------------------------------------------------------------------------------------


def test_a_core_that_is_killed_is_replaced_and_nobody_is_refused(vm: Booted) -> None:
    before, keeper = pids(vm), vm.main_pid("dynod.service")
    with Load(vm, DOMAIN) as load:
        took = [replace_core(vm, signal.SIGKILL) for _ in range(KILLS)]
    print("the next core answered after", *(f"{seconds:.1f}" for seconds in took), "s")
    load.assert_nobody_refused(ends=KILLS)
    assert (pids(vm), vm.main_pid("dynod.service")) == (before, keeper)


def test_a_core_that_the_kernel_ends_for_want_of_memory_is_replaced_too(vm: Booted) -> None:
    before, keeper = pids(vm), vm.main_pid("dynod.service")
    with Load(vm, DOMAIN) as load:
        for _ in range(STARVED):
            core = core_of(vm)
            with starved(core):
                wait_for_another_core(vm, core)
    load.assert_nobody_refused(ends=STARVED)
    assert (pids(vm), vm.main_pid("dynod.service")) == (before, keeper)
    assert vm.show("dynod.service", "ActiveState") == {"ActiveState": "active"}


def test_a_dyno_that_the_kernel_ends_for_want_of_memory_takes_nobody_along(vm: Booted) -> None:
    before, keeper, core = pids(vm), vm.main_pid("dynod.service"), core_of(vm)
    with starved(inside_container(vm, "worker.1")):
        vm.shell("dynod ps:restart worker.1 -a shop")  # SIGTERM: it wants a page at once
    wait_until_whole(vm)
    after = pids(vm)
    assert {name for name in after if after[name] != before[name]} == {"worker.1"}
    assert (vm.main_pid("dynod.service"), core_of(vm)) == (keeper, core)
    assert vm.show("dynod.service", "ActiveState", "NRestarts")["ActiveState"] == "active"


def test_whichever_process_of_a_dyno_is_killed_it_comes_back_and_the_others_stay(vm: Booted) -> None:
    """Its program, and those that make its container: the outer one, which the keeper knows, and the first inside."""
    keeper, core = vm.main_pid("dynod.service"), core_of(vm)
    for dyno in ("web.1", "worker.1"):
        for kind in range(OF_A_DYNO):
            before, members = pids(vm), processes_of(vm, dyno)
            os.kill(members[kind], signal.SIGKILL)
            wait_until_another(vm, dyno, before)
            assert not [pid for pid in members if is_in_the_guest(vm, pid)]
            after = pids(vm)
            assert {name for name in after if after[name] != before[name]} == {dyno}
    assert (vm.main_pid("dynod.service"), core_of(vm)) == (keeper, core)


def test_a_core_that_hangs_is_replaced(vm: Booted) -> None:
    before = pids(vm)
    replace_core(vm, signal.SIGSTOP)
    assert pids(vm) == before


def test_a_keeper_that_is_killed_is_started_again_and_clients_wait(vm: Booted) -> None:
    before, keeper = pids(vm), vm.main_pid("dynod.service")
    with Load(vm, DOMAIN) as load:
        os.kill(keeper, signal.SIGKILL)
        eventually(
            lambda: is_whole(vm) and not set(pids(vm).values()) & set(before.values()),
            what="all of it again",
            timeout_s=90,
        )
    assert sum(load.failed.values()) <= CONNECTIONS, load.failed
    assert not [outcome for outcome in load.failed if "Refused" in outcome], load.failed
    assert vm.main_pid("dynod.service") not in {0, keeper}
    left = [pid for pid in before.values() if pid is not None and vm.path(f"/proc/{pid}/cmdline").exists()]
    assert left == []


def test_a_keeper_that_hangs_misses_the_watchdog_and_is_started_again(vm: Booted) -> None:
    vm.shell("mkdir -p /run/systemd/system/dynod.service.d")
    vm.path("/run/systemd/system/dynod.service.d/watchdog.conf").write_text("[Service]\nWatchdogSec=2\n")
    vm.shell("systemctl daemon-reload && systemctl restart dynod")
    wait_until_whole(vm)
    keeper = vm.main_pid("dynod.service")
    os.kill(keeper, signal.SIGSTOP)
    eventually(lambda: vm.main_pid("dynod.service") not in {0, keeper}, what="another keeper", timeout_s=60)
    wait_until_whole(vm)
    assert "Watchdog timeout" in "\n".join(str(entry["MESSAGE"]) for entry in vm.journal("UNIT=dynod.service"))
    vm.shell("rm -r /run/systemd/system/dynod.service.d && systemctl daemon-reload && systemctl restart dynod")
    wait_until_whole(vm)


def test_many_dynos_live_under_the_unit_and_a_stop_leaves_nothing(vm: Booted) -> None:
    groups = vm.path("/sys/fs/cgroup/system.slice/dynod.service/dynos")
    before = pids(vm)
    began = time.monotonic()
    vm.shell(f"dynod ps:scale idle={MANY} -a shop && dynod ps:wait -a shop --timeout 300", timeout_s=310)
    print(f"{MANY} dynos are up {time.monotonic() - began:.1f} s after they were asked for")
    found = dynos(vm)
    assert {dyno["state"] for dyno in found.values()} == {"up"}
    assert len(found) == MANY + len(before)
    assert {name: pid for name, pid in pids(vm).items() if name in before} == before
    assert {group.name for group in groups.iterdir() if group.is_dir()} == {dyno["id"] for dyno in found.values()}
    everybody = [pid for group in groups.iterdir() if group.is_dir() for pid in members(group)]
    assert len(everybody) == len(set(everybody)) >= len(found)
    began = time.monotonic()
    vm.run("systemctl", "stop", "dynod.service")
    print(f"stopped after {time.monotonic() - began:.1f} s, {len(everybody)} processes")
    assert not groups.parent.exists()
    assert not [pid for pid in everybody if is_in_the_guest(vm, pid)]
    assert list(vm.path(f"{STATE}/dynos").iterdir()) == []
    began = time.monotonic()
    vm.run("systemctl", "start", "dynod.service")
    vm.run("dynod", "ps:wait", "-a", "shop", "--timeout", "300", timeout_s=310)
    print(f"all {len(found)} are up again {time.monotonic() - began:.1f} s after the start")
    assert {dyno["state"] for dyno in dynos(vm).values()} == {"up"}
    assert len(dynos(vm)) == len(found)
    vm.shell("dynod ps:scale idle=0 -a shop")
    wait_until_whole(vm)


# --- a full disk ----------------------------------------------------------------------------------------------------


def test_a_full_disk_costs_no_request_and_no_restart(vm: Booted) -> None:
    before, keeper, core = pids(vm), vm.main_pid("dynod.service"), core_of(vm)
    with Load(vm, DOMAIN) as load:
        with FullDisk(vm) as disk:
            ends_at = time.monotonic() + FULL_S
            assert f"the disk of {STATE} is nearly full: 0 MB are free" in vm.shell("dynod status")
            while True:
                refused = vm.run("dynod", "config:set", "A=1", "-a", "shop", check=False)
                assert refused.returncode == 1, refused.stdout
                told = " ".join(refused.stderr.split())
                assert "the disk is full, and nothing was changed: free some space" in told
                assert re.search(rf"Largest in {STATE}: {disk.name} \([\d,]+ MB\)", told), told
                if time.monotonic() > ends_at:
                    break
                threading.Event().wait(min(10, FULL_S))  # it is full for as long as the issue says; nothing is awaited
                disk.again()
        eventually(lambda: "is written again" in vm.said("dynod"), what="the log goes on")
        assert "nearly full" not in vm.shell("dynod status")
    assert load.failed == {}
    assert (pids(vm), vm.main_pid("dynod.service"), core_of(vm)) == (before, keeper, core)
    vm.shell("dynod config:set A=1 -a shop && dynod config:unset A -a shop")


def test_what_ends_while_the_disk_is_full_comes_back_as_protected_as_before(vm: Booted) -> None:
    """A core and then a dyno, which is in a container still: a disk that takes nothing says nothing about those."""
    before = pids(vm)
    with FullDisk(vm):
        replace_core(vm, signal.SIGKILL)
        assert pids(vm) == before
        os.kill(inside_container(vm, "worker.1"), signal.SIGKILL)
        wait_until_another(vm, "worker.1", before)
        assert "not kept apart" not in vm.shell("dynod status")
        assert status(inside_container(vm, "worker.1"))["NSpid"] != status(vm.pid)["NSpid"]
    assert {name: pid for name, pid in pids(vm).items() if name != "worker.1"}.items() <= before.items()


def test_a_machine_that_is_booted_while_its_disk_is_full_serves(vm: Booted) -> None:
    with FullDisk(vm) as disk:
        for _ in range(BOOTS):
            vm.run("systemctl", "stop", "dynod.socket", "dynod.service")
            disk.again()  # what was freed by the stop
            vm.reboot()
            wait_until_whole(vm)
            assert '"dyno"' in ask(vm)
            assert "not kept apart" not in vm.shell("dynod status")
    vm.shell("dynod config:set A=1 -a shop && dynod config:unset A -a shop")


# --- who is there ---------------------------------------------------------------------------------------------------


def members(group: Path) -> list[int]:
    """Processes of a control group of the guest, by this machine's numbers, as it is this machine that reads."""
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


def processes_of(vm: Booted, dyno: str) -> list[int]:
    """The oldest first, by this machine's numbers, once its container is made and its program runs."""

    def all_there() -> list[int] | None:
        group = vm.path(f"/sys/fs/cgroup/system.slice/dynod.service/dynos/{dynos(vm)[dyno]['id']}")
        found = sorted(members(group))
        return found if len(found) == OF_A_DYNO else None

    return eventually(all_there, what=f"all processes of {dyno}")


def wait_until_another(vm: Booted, dyno: str, before: dict[str, int | None]) -> None:
    """Until every dyno is up, this one as another process than before."""

    def there() -> bool:
        found = dynos(vm)
        return {each["state"] for each in found.values()} == {"up"} and found[dyno]["dynod"]["pid"] != before[dyno]

    eventually(there, what=f"{dyno} again", timeout_s=60)


def inside_container(vm: Booted, dyno: str) -> int:
    """The program of a dyno: the one that was started last."""
    return processes_of(vm, dyno)[-1]


def is_in_the_guest(vm: Booted, pid: int) -> bool:
    """Whether there is a process of this number, and it is the guest's."""
    with contextlib.suppress(OSError):
        inner = Path(f"/proc/{pid}/ns/net").readlink()
        return inner == Path(f"/proc/{vm.pid}/ns/net").readlink() and status(pid)["State"][0] != "Z"
    return False
