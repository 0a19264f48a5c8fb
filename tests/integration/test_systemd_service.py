"""dynod as the service of a machine: README's *On a VM* on a booted one, what runs then, reload, stop, reboot, removal.

What breaks it is in test_systemd_faults.py, on the same guest.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from support import installed
from support.booted import Booted
from support.counts import rounds
from support.guest_load import Load
from support.service_guest import (
    DOMAIN,
    STATE,
    ask,
    commands,
    core_of,
    dynos,
    is_whole,
    make_shop,
    pids,
    socket_of,
    status,
    wait_until_whole,
)
from support.up import eventually

pytestmark = [pytest.mark.timeout(rounds(400, full=1500)), pytest.mark.usefixtures("leaves_it_whole")]

CAP_SYS_RESOURCE = 24
UNDER_LOAD = rounds(300, full=50_000)  # requests
GRACE_USED_S = rounds(3, full=29)


# --- the first hour -------------------------------------------------------------------------------------------------


def test_ten_commands_lead_to_a_page_a_domain_and_a_second_user(vm: Booted) -> None:
    """What they lead to was looked at when they were run: see `first_hour`."""
    assert len(commands()) <= 10
    assert "dynod systemd:install" in "".join(commands())
    refused = vm.run("su", "nobody", "-s", "/bin/sh", "-c", "dynod ps -a demo", check=False)
    assert refused.returncode == 1
    assert "the group dynod" in refused.stderr


def test_installing_again_changes_nothing(vm: Booted) -> None:
    keeper = vm.main_pid("dynod.service")
    assert vm.shell("dynod systemd:install") == "nothing to change\n"
    assert json.loads(vm.shell("dynod systemd:install --json"))["dry_run"] is False
    assert vm.main_pid("dynod.service") == keeper
    assert "link /opt/dynod/current -> 0.1.0" in vm.shell("dynod systemd:install --dry-run")


@pytest.mark.parametrize(
    ("before", "as_root", "told"),
    [
        ("echo '[Service]' >$units/dynod.service", True, "$units/dynod.service is there, and was not written by dynod"),
        ("ln -s /dev/null $units/dynod.service", True, "$units/dynod.service is masked: systemctl unmask"),
        ("mount -o remount,ro $units", True, "$units cannot be written to: its file system is read-only"),
        ("mount -t tmpfs tmpfs /run/systemd", True, "systemd does not run here"),
        (":", False, "only root can install a service of the machine"),
    ],
    ids=["foreign", "masked", "read-only", "no systemd", "no root"],
)
def test_what_is_in_the_way_is_told_and_nothing_is_changed(vm: Booted, before: str, as_root: bool, told: str) -> None:
    """In mounts of its own, where the folder of units is empty."""
    units = "/etc/systemd/system"
    run = "{}" if as_root else "su nobody -s /bin/sh -c '{}'"
    script = (
        f"units={units}; mount -t tmpfs tmpfs $units; {before}; ls -l $units; "
        f"{run.format('dynod systemd:install')} 2>&1 && exit 99; ls -l $units"
    )
    said = vm.run("unshare", "--mount", "sh", "-c", script).stdout
    assert told.replace("$units", units) in said
    listed = [line for line in said.splitlines() if not line.startswith("dynod:")]
    assert listed[: len(listed) // 2] == listed[len(listed) // 2 :], "as it was"


def test_a_port_that_is_taken_is_told_before_anything_is_changed(vm: Booted) -> None:
    vm.run("systemctl", "stop", "dynod.socket", "dynod.service")
    with socket_of(vm, 80):
        refused = vm.run("dynod", "systemd:install", check=False)
    assert refused.returncode == 1
    assert "another program listens on 0.0.0.0:80" in refused.stderr
    vm.run("systemctl", "start", "dynod.socket", "dynod.service")


def test_systemd_has_no_complaint_about_what_was_installed(vm: Booted) -> None:
    vm.shell("systemd-analyze verify /etc/systemd/system/dynod.service /etc/systemd/system/dynod.socket")


def test_the_ports_of_dynos_are_closed_as_long_as_somebody_wants_that(vm: Booted) -> None:
    """Over a flush by the machine's own rules; off and on again by the settings. What it closes: test_firewall."""
    installed.program("nft")
    listed = "nft list tables"
    assert "table inet dynod\n" in vm.shell(listed)
    assert "past the router" not in vm.shell("dynod status")
    assert "tcp dport 20000-29999" in vm.shell("dynod systemd:install --dry-run")
    vm.shell("printf '#!/usr/sbin/nft -f\\nflush ruleset\\n' >/etc/nftables.conf && systemctl start nftables.service")
    vm.shell("systemctl restart dynod-firewall.service && systemctl restart nftables.service")
    eventually(lambda: "table inet dynod\n" in vm.shell(listed), what="systemd has come to what is part of it")
    settings = vm.path("/etc/dynod/dynod.toml")
    before = settings.read_text() if settings.exists() else None
    settings.write_text("[serve]\nclose_dyno_ports = false\n")
    try:
        vm.shell("dynod systemd:install")
        assert vm.shell(listed) == ""
    finally:
        settings.unlink() if before is None else settings.write_text(before)
    vm.shell("dynod systemd:install && systemctl stop nftables.service")
    vm.shell("systemctl start dynod-firewall.service")
    assert vm.shell(listed) == "table inet dynod\n"


def test_one_user_needs_no_root(vm: Booted) -> None:
    """In place of the machine's, which has port 5000 too. The environment is copied, which is quicker than pip."""
    home = "/srv/bob/.local/share/dynod/0.1.0"
    vm.shell(
        "systemctl stop dynod.socket dynod.service && useradd --create-home --home-dir /srv/bob bob"
        " && systemctl start user@$(id -u bob)"
    )
    vm.shell(
        f"mkdir -p $(dirname {home}) && cp -a /opt/dynod/0.1.0 {home} && chown -R bob: /srv/bob"
        f" && sed -i 's:/opt/dynod/0.1.0:{home}:' {home}/bin/dynod"
    )
    as_bob = (
        "setpriv --reuid=bob --regid=bob --clear-groups env HOME=/srv/bob XDG_RUNTIME_DIR=/run/user/$(id -u bob)"
        " PATH=/srv/bob/.local/bin:/usr/bin:/bin"
    )
    vm.shell(f"{as_bob} {home}/bin/dynod systemd:install --user")
    assert "http://127.0.0.1:5000" in vm.shell(f"{as_bob} dynod status")
    vm.shell(f"{as_bob} systemctl --user reload dynod")
    assert "No such app" in ask(vm, port=5000)
    vm.shell(f"{as_bob} dynod systemd:uninstall --user --purge --confirm 0")
    assert vm.shell("find /srv/bob -name '*dynod*'") == ""
    vm.shell("systemctl stop user@$(id -u bob) && userdel --remove bob && systemctl start dynod.socket dynod.service")


# --- what runs ------------------------------------------------------------------------------------------------------


def limits(pid: int) -> dict[str, str]:
    """The soft ones that matter."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {
        name: line.removeprefix(f"Max {name}").split()[0]
        for name in ("open files", "core file size")
        for line in lines
        if line.startswith(f"Max {name}")
    }


def may_be_shielded() -> bool:
    """Whether root of this machine may have the kernel prefer others: not where it lacks CAP_SYS_RESOURCE."""
    return bool(int(status("self")["CapEff"], 16) >> CAP_SYS_RESOURCE & 1)


def test_each_process_is_where_and_what_it_should_be(vm: Booted) -> None:
    keeper, core = vm.main_pid("dynod.service"), core_of(vm)
    unit = Path(f"/proc/{keeper}/cgroup").read_text().strip().rpartition("/")[0]
    uid = vm.shell("id -u dynod").strip()
    for pid in (keeper, core):
        assert Path(f"/proc/{pid}/cgroup").read_text().strip() == f"{unit}/daemon"
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == ("-900" if may_be_shielded() else "0")
        assert status(pid)["Uid"].split() == [uid] * 4
        assert int(limits(pid)["open files"]) > 10_000, "many sockets: 524,288, or what this machine's root may have"
        assert limits(pid)["core file size"] == "1", "no secrets on disk"
    soft = {}
    for dyno in dynos(vm).values():
        inner = dyno["dynod"]["pid"]
        assert inner is not None
        pid = vm.outer(inner)
        assert Path(f"/proc/{pid}/cgroup").read_text().strip() == f"{unit}/dynos/{dyno['id']}"
        members = vm.path(f"/sys/fs/cgroup/system.slice/dynod.service/dynos/{dyno['id']}/cgroup.procs").read_text()
        for each in members.split():  # by this machine's numbers: it is who reads
            assert Path(f"/proc/{each}/oom_score_adj").read_text().strip() == "0"
            assert int(status(each)["CapAmb"], 16) == 0
        soft[dyno["name"]] = limits(pid)
    inside = vm.shell("dynod run -a shop -- cat /proc/self/status")
    assert re.findall(r"Cap(?:Inh|Prm|Eff|Amb):\s*(\w+)", inside) == ["0" * 16] * 4
    users = {app: int(vm.shell(f"dynod run -a {app} -- id -u")) for app in ("shop", "demo")}
    assert min(users.values()) >= 1_900_000_000, "the service is not root, and gives each app a user for all that"
    assert users["shop"] != users["demo"]
    said = vm.shell("dynod status")
    assert "kept apart" not in said, "containers can be made below the unit's hardening"
    assert "dynod's own user" not in said
    of_each = {"open files": "1024", "core file size": "1"}
    assert soft == dict.fromkeys(soft, of_each), "dynod's own limit of descriptors is not theirs"
    assert vm.show("dynod.service", "OOMPolicy", "OOMScoreAdjust") == {
        "OOMPolicy": "continue",
        "OOMScoreAdjust": "-900",
    }


def test_the_journal_knows_of_which_dyno_it_speaks(vm: Booted) -> None:
    entries = vm.journal("-u", "dynod", "DYNOD_APP=shop", "DYNOD_DYNO=worker.1")
    assert any("State changed from starting to up" in entry["MESSAGE"] for entry in entries)
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"dynod"}


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("node", "node -e 'let n=0;for(let i=0;i<1e6;i++)n+=i;console.log(`made ${n}`)'"),
        ("java", "java -version"),
    ],
)
def test_what_compiles_while_it_runs_runs_below_the_units_hardening(vm: Booted, program: str, command: str) -> None:
    if shutil.which(program, path="/usr/bin") is None:
        pytest.skip(f"this machine has no /usr/bin/{program}")
    ended = vm.run("dynod", "run", "-a", "shop", "--no-tty", "--", *["sh", "-c", command], check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "made 499999500000" in ended.stdout or "version" in ended.stdout + ended.stderr


# --- reload ---------------------------------------------------------------------------------------------------------


def test_settings_are_read_again_under_load_and_no_dyno_restarts(vm: Booted) -> None:
    before, keeper, core = pids(vm), vm.main_pid("dynod.service"), core_of(vm)
    settings = vm.path("/etc/dynod/dynod.toml")
    with Load(vm, DOMAIN, first=UNDER_LOAD) as load:
        settings.write_text('[serve]\napps_domain = "apps.example"\n[dynos]\ngrace_s = 45\n')
        vm.run("systemctl", "reload", "dynod")
        eventually(lambda: '"dyno"' in ask(vm, host="shop.apps.example"), what="the app by its new name")
        settings.write_text("")
        vm.run("systemctl", "reload", "dynod")
        eventually(lambda: '"dyno"' in ask(vm), what="the app by its old name")
    assert load.failed == {}
    assert (pids(vm), vm.main_pid("dynod.service"), core_of(vm)) == (before, keeper, core)
    settings.unlink()


def test_a_file_that_cannot_be_used_fails_the_reload_with_its_line(vm: Booted) -> None:
    before, core = pids(vm), core_of(vm)
    settings = vm.path("/etc/dynod/dynod.toml")
    settings.write_text('[serve]\n\napps_domain = "Not A Domain"\n')
    try:
        assert vm.run("systemctl", "reload", "dynod", check=False).returncode != 0
        assert "apps_domain: expected a domain name in lower case" in vm.said("dynod")
        assert "(at line 3)" in vm.said("dynod")
        vm.run("kill", "-HUP", vm.show("dynod.service", "MainPID")["MainPID"])  # past ExecReload's own look
        eventually(lambda: "reload refused" in vm.show("dynod.service", "StatusText")["StatusText"], what="the refusal")
        assert vm.show("dynod.service", "ActiveState") == {"ActiveState": "active"}
        assert '"dyno"' in ask(vm), "by the old settings"
        assert (pids(vm), core_of(vm)) == (before, core)
    finally:
        settings.unlink()
    vm.run("systemctl", "reload", "dynod")


# --- stop, start, reboot --------------------------------------------------------------------------------------------


def test_systemd_waits_for_a_dyno_that_takes_its_time(vm: Booted) -> None:
    vm.path("/srv/shop/takes").write_text(str(GRACE_USED_S))
    since = vm.shell("date '+%Y-%m-%d %H:%M:%S.%6N'").strip()
    vm.run("systemctl", "restart", "dynod")
    vm.path("/srv/shop/takes").write_text("0")
    assert "worker has left in peace" in vm.shell("dynod logs -a shop -n 100 -d worker.1")
    said = "\n".join(str(entry["MESSAGE"]) for entry in vm.journal("UNIT=dynod.service", "--since", since))
    assert "SIGKILL" not in said
    assert "Deactivated successfully" in said
    wait_until_whole(vm)


def test_the_first_request_starts_a_service_that_is_stopped(vm: Booted) -> None:
    vm.run("systemctl", "stop", "dynod.service")
    assert vm.main_pid("dynod.service") == 0
    assert '"dyno"' in ask(vm)
    wait_until_whole(vm)


def test_all_comes_back_as_it_was_when_the_machine_is_booted_again(vm: Booted) -> None:
    vm.shell("dynod maintenance:on -a demo && dynod drains:add syslog://127.0.0.1:6514 -a shop")
    before = json.loads(vm.shell("dynod releases -a shop --json"))
    vm.reboot()
    wait_until_whole(vm)
    assert json.loads(vm.shell("dynod releases -a shop --json")) == before
    assert "on" in vm.shell("dynod maintenance -a demo")
    assert "syslog://127.0.0.1:6514" in vm.shell("dynod drains -a shop")
    vm.shell("dynod maintenance:off -a demo && dynod drains:remove syslog://127.0.0.1:6514 -a shop")


# --- the end --------------------------------------------------------------------------------------------------------


def test_what_is_uninstalled_leaves_apps_and_what_is_purged_leaves_nothing(vm: Booted) -> None:
    vm.shell("cp -a /opt/dynod /srv/kept && dynod systemd:uninstall")
    assert vm.run("nft", "list", "tables", check=False).stdout == ""
    assert "could not be found" in vm.run("systemctl", "status", "dynod", check=False).stderr
    assert vm.path("/var/lib/dynod/state.db").exists()
    vm.shell("mv /srv/kept /opt/dynod && /opt/dynod/0.1.0/bin/dynod systemd:install")
    wait_until_whole(vm)
    vm.shell("cp -a /opt/dynod /srv/kept")
    refused = vm.run("dynod", "systemd:uninstall", "--purge", "--confirm", "1", check=False)
    assert (refused.returncode, "there are 2 apps, not 1" in refused.stderr) == (1, True)
    assert is_whole(vm)
    vm.shell("dynod systemd:uninstall --purge --confirm 2")
    assert [path.name for path in vm.path(STATE).iterdir()] == ["lost+found"], "of a disk of its own, as it is here"
    for left in ("/opt/dynod", "/etc/dynod", "/run/dynod", "/usr/local/bin/dynod"):
        assert not vm.path(left).exists(), left
    assert vm.run("getent", "passwd", "dynod", check=False).returncode != 0
    vm.shell("mv /srv/kept /opt/dynod && /opt/dynod/0.1.0/bin/dynod systemd:install")
    make_shop(vm)
    vm.shell("dynod apps:create demo --dir /srv/shop && dynod ps:scale web=0 worker=0 -a demo")
