"""What an installation consists of, and that nothing of it is forgotten when it is removed."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from dynod.core.service_plan import MARK, Link, Machine, Remove, Run, Step, WriteFile, installation, removal

TEXTS = {
    "dynod.service": "[Service]\n",
    "dynod.socket": "[Socket]\nListenStream=0.0.0.0:80\nListenStream=[::]:80\n",
    "dynod.sysusers": "u dynod\n",
    "dynod.tmpfiles": "d /etc/dynod\n",
    "dynod.needrestart.conf": "x\n",
    "dynod-firewall.service": "[Service]\n",
    "user/dynod.service": "[Service]\n",
}
VM = Machine(version="1.2.3", has_needrestart=True, firewall="table inet dynod {}\n")
ALICE = Machine(version="1.2.3", home="/srv/alice")


def made(steps: Iterable[Step]) -> set[str]:
    return {step.path for step in steps if isinstance(step, WriteFile | Link)}


def removed(steps: Iterable[Step]) -> set[str]:
    return {step.path for step in steps if isinstance(step, Remove)}


@pytest.mark.parametrize("machine", [VM, ALICE], ids=["machine", "user"])
def test_everything_that_is_made_is_removed_again(machine: Machine) -> None:
    gone = removed(removal(machine, purge=False))
    left = {
        path
        for path in made(installation(machine, TEXTS))
        if not any(f"{path}/".startswith(f"{each}/") for each in gone)
    }
    assert left == set()


def test_what_apps_have_stays_unless_it_is_asked_for() -> None:
    assert not any(path.startswith(("/var/lib", "/etc/dynod/dynod.toml")) for path in removed(removal(VM, purge=False)))
    assert "/etc/dynod" not in removed(removal(VM, purge=False))
    assert {"/var/lib/dynod", "/etc/dynod"} <= removed(removal(VM, purge=True))


def test_a_user_needs_no_root_and_touches_nothing_outside_the_home() -> None:
    for steps in (installation(ALICE, TEXTS), removal(ALICE, purge=True)):
        assert all(path.startswith("/srv/alice/") for path in made(steps) | removed(steps))
        assert all(step.argv[:2] == ("systemctl", "--user") for step in steps if isinstance(step, Run))


def test_the_version_is_there_before_the_service_starts() -> None:
    steps = [str(step) for step in installation(VM, TEXTS)]
    assert steps.index("link /opt/dynod/current -> 1.2.3") < steps.index(
        "run systemctl start dynod.socket dynod.service"
    )
    assert steps.index("run systemctl reload-or-restart dynod-firewall.service") < steps.index(
        "run systemctl start dynod.socket dynod.service"
    )


def test_ports_that_are_to_stay_open_are_opened_where_they_were_closed() -> None:
    steps = installation(replace(VM, firewall=None), TEXTS)
    assert {"/etc/dynod/dynod.nft", "/etc/systemd/system/dynod-firewall.service"} <= removed(steps)
    assert not any("firewall" in path for path in made(steps))


def test_a_machine_without_ipv6_gets_no_socket_for_it() -> None:
    texts = {
        step.path: step.text for step in installation(replace(VM, has_ipv6=False), TEXTS) if isinstance(step, WriteFile)
    }
    assert texts["/etc/systemd/system/dynod.socket"].endswith("[Socket]\nListenStream=0.0.0.0:80\n")


def test_every_file_says_that_changes_of_it_do_not_last() -> None:
    for machine in (VM, ALICE):
        written = [step.text for step in installation(machine, TEXTS) if isinstance(step, WriteFile)]
        assert written
        assert all(text.startswith(MARK) for text in written if "table inet" not in text)
