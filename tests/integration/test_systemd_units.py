"""The unit files by themselves, as systemd's own tools judge them; no machine is booted for it."""

import re
import subprocess
from pathlib import Path

import pytest

from dynod.app_run import FLUSH_S
from dynod.routing import DRAIN_S
from dynod.settings import Settings
from support import installed
from support.source_tree import REPOSITORY

UNITS = REPOSITORY / "systemd"
MOST_EXPOSED = 40  # tenths: systemd-analyze's 4.0


def analyse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [installed.program("systemd-analyze"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def placed(tmp_path: Path, *names: str) -> list[Path]:
    """The units with a program that is there."""
    found = []
    for name in names:
        text = re.sub(r"(?<==)\S*/current/bin/dynod", "/bin/true", (UNITS / name).read_text())
        found.append(tmp_path / Path(name).name)
        found[-1].write_text(text)
    return found


def lines(name: str) -> dict[str, list[str]]:
    """Every setting of a unit with its values, in order."""
    out: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            out.setdefault(key, []).append(value)
    return out


@pytest.mark.parametrize(
    "names",
    [["dynod.service", "dynod.socket"], ["user/dynod.service"], ["dynod-firewall.service"]],
    ids=["system", "user", "firewall"],
)
def test_systemd_finds_no_fault_in_a_unit(tmp_path: Path, names: list[str]) -> None:
    if "dynod-firewall.service" in names:
        installed.program("nft")
    ended = analyse("verify", *placed(tmp_path, *names))
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_the_service_is_exposed_as_little_as_dynos_allow(tmp_path: Path) -> None:
    ended = analyse("security", "--offline=true", f"--threshold={MOST_EXPOSED}", *placed(tmp_path, "dynod.service"))
    assert ended.returncode == 0, ended.stdout


def test_every_line_that_is_not_taken_has_its_reason(tmp_path: Path) -> None:
    """What systemd-analyze would have is either taken or explained in the table."""
    told = (UNITS / "README.md").read_text().partition("## Hardening")[2]
    report = analyse("security", "--offline=true", "--no-pager", *placed(tmp_path, "dynod.service")).stdout
    missed = {match[1] for line in report.splitlines() if (match := re.match(r"✗ (\w+)=", line))}
    assert missed, report
    taken_in_part = {
        "AmbientCapabilities",
        "PrivateMounts",
        "ProtectHome",
    }  # of capabilities and namespaces, told above
    assert {name for name in missed - taken_in_part if f"`{name}=" not in told and f"{name}=" not in told} == set()


def test_systemd_waits_longer_than_a_stop_takes() -> None:
    needed = DRAIN_S + Settings().dyno_rules("web").grace_s + FLUSH_S + 10
    assert float(lines("dynod.service")["TimeoutStopSec"][0]) >= needed
    assert float(lines("user/dynod.service")["TimeoutStopSec"][0]) >= needed


def test_the_keeper_is_what_systemd_hears_watches_and_stops() -> None:
    for name in ("dynod.service", "user/dynod.service"):
        unit = lines(name)
        for key, value in {
            "Type": "notify",
            "NotifyAccess": "main",
            "WatchdogSec": "30",
            "KillMode": "mixed",
            "Restart": "always",
            "StartLimitIntervalSec": "0",
            "Delegate": "yes",
            "OOMPolicy": "continue",
        }.items():
            assert unit[key] == [value], (name, key)
