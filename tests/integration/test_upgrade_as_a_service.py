"""`systemctl reload` with another installed version, under real systemd: an upgrade, its rollback, and those that fail.

One guest for the whole file. What upgrades are beside systemd is in test_upgrade.py.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import guest_versions
from support.booted import PYTHON, Booted
from support.counts import rounds
from support.guest_load import Load
from support.source_tree import REPOSITORY
from support.up import eventually
from support.versions import DIES_AT_IMPORT, HANGS, SPEAKS_ANOTHER_PROTOCOL, dies_after

pytestmark = pytest.mark.timeout(rounds(300, full=1800))

HOST = "shop.localhost"
REQUESTS = rounds(150, full=50_000)
# Contracts 1 give one that hangs 30 s, which CI does not wait for: test_upgrade.py has all of them there.
BROKEN = {
    "dies at import": (DIES_AT_IMPORT, "goes on: the new core ended (exit status 3)"),
    "hangs": (HANGS, "goes on: the new core ended (SIG"),
    "dies after 5 s": (dies_after(5), "going back to the previous version"),
}
TRIED = list(BROKEN)[: rounds(1, full=len(BROKEN))]


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """A machine whose service is dynod 0.1.0, with an app."""
    nothing = tmp_path_factory.mktemp("wheels")
    (nothing / "none.whl").touch()
    with Booted(nothing) as machine:
        machine.shell(f"{guest_versions.add(machine, '0.1.0')} systemd:install")
        folder = machine.path("/srv/shop")
        folder.mkdir(parents=True)
        shutil.copy(REPOSITORY / "tests/toys/web_server.py", folder)
        (folder / "Procfile").write_text(f"web: {PYTHON} web_server.py --counts\n")
        (folder / "app.json").write_text(json.dumps({"formation": {"web": {"quantity": 2}}}))
        machine.shell("dynod apps:create shop --dir /srv/shop && dynod ps:wait -a shop")
        yield machine


def pids(vm: Booted) -> dict[str, int | None]:
    with vm.api() as client:
        return {dyno["name"]: dyno["dynod"]["pid"] for dyno in client.dynos("shop")}


def cores(vm: Booted) -> list[str]:
    """The program of each core that there is."""
    keeper = vm.main_pid("dynod.service")
    found = []
    for child in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"dynod.daemon" in command:
            found.append(os.fsdecode(command[0]))
    return found


def status_text(vm: Booted) -> str:
    return vm.show("dynod.service", "StatusText")["StatusText"]


def upgrade(vm: Booted, program: str) -> None:
    """As README has it; returns when that version is in control, and has read the settings."""
    vm.shell(f"{program} systemd:install && systemctl reload dynod")
    python = str(Path(program).parent / "python")
    eventually(lambda: python in cores(vm), what=f"a core of {python}", timeout_s=60)
    eventually(lambda: status_text(vm) == "settings read again", what="it is in control", timeout_s=60)


def test_an_upgrade_and_its_rollback_cost_no_request_and_no_dyno(vm: Booted) -> None:
    before, keeper, first = pids(vm), vm.main_pid("dynod.service"), f"{guest_versions.VERSIONS}/0.1.0/bin/dynod"
    second = guest_versions.add(vm, "0.2.0")
    third = guest_versions.add(vm, "0.2.1", breaks=SPEAKS_ANOTHER_PROTOCOL)  # for which the keeper becomes another
    with Load(vm, HOST, first=REQUESTS) as load:
        upgrade(vm, second)
        upgrade(vm, third)
        upgrade(vm, first)
    assert set(load.outcomes) == {"ok"}, load.outcomes
    assert (pids(vm), vm.main_pid("dynod.service")) == (before, keeper)
    eventually(lambda: cores(vm) == [f"{guest_versions.VERSIONS}/0.1.0/bin/python"], what="one core", timeout_s=120)


@pytest.mark.parametrize("how", TRIED)
def test_a_version_that_cannot_is_followed_by_the_one_that_could(vm: Booted, how: str) -> None:
    before, keeper, number = pids(vm), vm.main_pid("dynod.service"), list(BROKEN).index(how)
    breaks, why = BROKEN[how]
    program = guest_versions.add(vm, f"0.3.{number}", breaks=breaks)
    vm.shell(f"{program} systemd:install")
    if (
        vm.run("systemctl", "reload", "dynod", check=False).returncode != 0
    ):  # ExecReload has had it look at the settings
        vm.run("kill", "-HUP", vm.show("dynod.service", "MainPID")["MainPID"])
    eventually(lambda: why in vm.said("dynod"), what=why, timeout_s=90)
    python = f"{guest_versions.VERSIONS}/0.1.0/bin/python"
    eventually(lambda: cores(vm) == [python], what="a core of the version before", timeout_s=60)
    assert '"dyno"' in vm.run("curl", "-s", "--max-time", "60", "-H", f"Host: {HOST}", "http://127.0.0.1/").stdout
    assert (pids(vm), vm.main_pid("dynod.service")) == (before, keeper)
    assert vm.show("dynod.service", "ActiveState") == {"ActiveState": "active"}
    vm.shell(f"{guest_versions.VERSIONS}/0.1.0/bin/dynod systemd:install")
