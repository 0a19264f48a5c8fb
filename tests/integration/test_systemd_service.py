"""dynod as the service of a machine: README's *On a VM* on a booted one, and then whatever happens to such a machine.

One guest for the whole file. Every test leaves the service running, and the app `shop` with the dynos that SHOP says.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from dynod.platform_api.schema import Dyno
from support.booted import Booted, copy_sources, wheelhouse
from support.counts import rounds
from support.source_tree import REPOSITORY
from support.up import eventually

pytestmark = pytest.mark.timeout(rounds(400, full=1500))

DOMAIN = "shop.example.com"  # which stays the shop's whatever the settings are
SHOP = ["web.1", "web.2", "worker.1"]
PYTHON = "/usr/bin/python3"
CAP_SYS_RESOURCE = 24
UNDER_LOAD = rounds(300, full=50_000)  # requests
GRACE_USED_S = rounds(3, full=29)
KILLS = rounds(1, full=20)
MANY = rounds(20, full=500)

WORKER = """
import signal, sys, time
def leave(*_):
    time.sleep(int(open("takes").read()))
    print("worker has left in peace", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("worker works", flush=True)
while True:
    signal.pause()
"""


def commands() -> list[str]:
    """README's, one a line."""
    text = (REPOSITORY / "README.md").read_text().partition("### On a VM")[2]
    found = re.search(r"```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[1].splitlines()


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """A machine on which README's commands have been run, but for the last, and which has a second app."""
    with Booted(wheelhouse(tmp_path_factory.mktemp("wheels"))) as machine:
        copy_sources(machine.path("/srv/dynod"))
        first_hour(machine)
        make_shop(machine)
        yield machine


@pytest.fixture(autouse=True)
def leaves_it_whole(vm: Booted) -> Iterator[None]:
    """Whichever test does not leave the machine as it was is the one that fails, and says how it is."""
    yield
    try:
        wait_until_whole(vm)
    except AssertionError:
        print(vm.run("systemctl", "status", "dynod.service", "dynod.socket", check=False).stdout)
        print(vm.run("ls", "-la", "/run/dynod", "/var/lib/dynod", check=False).stdout)
        print(vm.said("dynod")[-8000:])
        raise


def first_hour(vm: Booted) -> None:
    """README's commands, and what they lead to. Then the Django app rests: it would boot with each dynod."""
    *before, last = commands()
    for command in before:
        vm.shell(command)
    with subprocess.Popen([*vm.inside, "bash", "-c", last], stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert 'id="dyno"' in ask(vm, host="demo.example.com")
        assert any("heroku[router]" in line and "demo.example.com" in line for line in tail.stdout)
        tail.kill()
    vm.shell("dynod ps:scale web=0 worker=0 -a demo")


def make_shop(vm: Booted) -> None:
    folder = vm.path("/srv/shop")
    folder.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "tests/toys/web_server.py", folder)
    (folder / "Procfile").write_text(f"web: {PYTHON} web_server.py --counts\nworker: {PYTHON} worker.py\n")
    (folder / "worker.py").write_text(WORKER)
    (folder / "takes").write_text("0")
    (folder / "app.json").write_text(json.dumps({"formation": {"web": {"quantity": 2}, "worker": {"quantity": 1}}}))
    vm.shell("dynod apps:create shop --dir /srv/shop && dynod settings:set settle_s=0 -a shop && dynod ps:wait -a shop")
    vm.shell(f"dynod domains:add {DOMAIN} -a shop")


def dynos(vm: Booted, app: str = "shop") -> dict[str, Dyno]:
    with vm.api() as client:
        return {dyno["name"]: dyno for dyno in client.dynos(app)}


def pids(vm: Booted) -> dict[str, int | None]:
    return {name: dyno["dynod"]["pid"] for name, dyno in dynos(vm).items()}


def is_whole(vm: Booted) -> bool:
    """Whether every dyno of the shop is up."""
    with contextlib.suppress(Exception):
        found = dynos(vm)
        return sorted(found) == SHOP and {dyno["state"] for dyno in found.values()} == {"up"}
    return False


def wait_until_whole(vm: Booted) -> None:
    eventually(lambda: is_whole(vm), what="every dyno of the shop is up", timeout_s=90)


def core_of(vm: Booted) -> int:
    """The core's pid, by this machine's numbers."""
    keeper = vm.main_pid("dynod.service")
    for child in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split():
        if b"dynod.daemon" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return 0


def replace_core(vm: Booted, number: int) -> None:
    """Send the core a signal that it does not survive; returns when another is in control."""
    core = core_of(vm)
    os.kill(core, number)
    eventually(lambda: core_of(vm) not in {0, core} and is_whole(vm), what="the next core", timeout_s=60)


def ask(vm: Booted, path: str = "/", *, host: str = "shop.localhost", port: int = 80) -> str:
    """One request, from within the guest."""
    return vm.run("curl", "-s", "--max-time", "60", "-H", f"Host: {host}", f"http://127.0.0.1:{port}{path}").stdout


class Load:
    """The load of contracts 9 in the guest, from `__enter__` to `__exit__`."""

    def __init__(self, vm: Booted, *, first: int = 100) -> None:
        self._command = [
            *(*vm.in_network, sys.executable, str(REPOSITORY / "tests/support/load_in_guest.py")),
            *("80", DOMAIN, "7", str(first)),
        ]
        self.outcomes: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            self._command,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'tests'}:{REPOSITORY}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._child.stdout is not None
        assert self._child.stdout.readline().strip().isdigit(), "the load has not begun"
        return self

    def __exit__(self, *error: object) -> None:
        self.outcomes = json.loads(self._child.communicate("", timeout=120)[0])
        print("sent", sum(self.outcomes.values()), self.outcomes)

    @property
    def failed(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "ok"}


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


def test_systemd_has_no_complaint_about_what_was_installed(vm: Booted) -> None:
    vm.shell("systemd-analyze verify /etc/systemd/system/dynod.service /etc/systemd/system/dynod.socket")


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


def status(pid: int | str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)


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
        (line,) = (each for each in Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in each)
        soft[dyno["name"]] = line.split()[3]
    inside = vm.shell("dynod run -a shop -- cat /proc/self/status")
    assert re.findall(r"Cap(?:Inh|Prm|Eff|Amb):\s*(\w+)", inside) == ["0" * 16] * 4
    users = {app: int(vm.shell(f"dynod run -a {app} -- id -u")) for app in ("shop", "demo")}
    assert min(users.values()) >= 1_900_000_000, "the service is not root, and gives each app a user for all that"
    assert users["shop"] != users["demo"]
    said = vm.shell("dynod status")
    assert "kept apart" not in said, "containers can be made below the unit's hardening"
    assert "dynod's own user" not in said
    assert set(soft.values()) == {"1024"}, "dynod's own limit is not theirs"
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
    with Load(vm, first=UNDER_LOAD) as load:
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


# --- what breaks ----------------------------------------------------------------------------------------------------


def test_a_core_that_is_killed_is_replaced_and_nobody_is_refused(vm: Booted) -> None:
    before, keeper = pids(vm), vm.main_pid("dynod.service")
    with Load(vm) as load:
        for _ in range(KILLS):
            replace_core(vm, signal.SIGKILL)
    assert sum(load.failed.values()) <= 64 * KILLS, load.failed
    assert not [outcome for outcome in load.failed if "Refused" in outcome or "status" in outcome], load.failed
    assert (pids(vm), vm.main_pid("dynod.service")) == (before, keeper)


def test_a_core_that_hangs_is_replaced(vm: Booted) -> None:
    before = pids(vm)
    replace_core(vm, signal.SIGSTOP)
    assert pids(vm) == before


def test_a_keeper_that_is_killed_is_started_again_and_clients_wait(vm: Booted) -> None:
    before, keeper = pids(vm), vm.main_pid("dynod.service")
    with Load(vm) as load:
        os.kill(keeper, signal.SIGKILL)
        eventually(
            lambda: is_whole(vm) and not set(pids(vm).values()) & set(before.values()),
            what="all of it again",
            timeout_s=90,
        )
    assert sum(load.failed.values()) <= 64, load.failed
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


def test_many_dynos_live_under_the_unit(vm: Booted) -> None:
    with vm.api() as client:
        client.scale("shop", [{"type": "worker", "quantity": str(MANY)}])
    vm.run("dynod", "ps:wait", "-a", "shop", "--timeout", "300", timeout_s=310)
    found = dynos(vm)
    assert len(found) == MANY + 2
    assert {dyno["state"] for dyno in found.values()} == {"up"}
    with vm.api() as client:
        client.scale("shop", [{"type": "worker", "quantity": "1"}])
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
    assert "could not be found" in vm.run("systemctl", "status", "dynod", check=False).stderr
    assert vm.path("/var/lib/dynod/state.db").exists()
    vm.shell("mv /srv/kept /opt/dynod && /opt/dynod/0.1.0/bin/dynod systemd:install")
    wait_until_whole(vm)
    vm.shell("cp -a /opt/dynod /srv/kept")
    refused = vm.run("dynod", "systemd:uninstall", "--purge", "--confirm", "1", check=False)
    assert (refused.returncode, "there are 2 apps, not 1" in refused.stderr) == (1, True)
    assert is_whole(vm)
    vm.shell("dynod systemd:uninstall --purge --confirm 2")
    assert list(vm.path("/var/lib/dynod").iterdir()) == [], "which is a mount here"
    for left in ("/opt/dynod", "/etc/dynod", "/run/dynod", "/usr/local/bin/dynod"):
        assert not vm.path(left).exists(), left
    assert vm.run("getent", "passwd", "dynod", check=False).returncode != 0
    vm.shell("mv /srv/kept /opt/dynod && /opt/dynod/0.1.0/bin/dynod systemd:install")
    vm.shell("dynod apps:create demo")
    make_shop(vm)
