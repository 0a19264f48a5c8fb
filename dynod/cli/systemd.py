"""`dynod systemd:install` and `systemd:uninstall`: dynod as the service of a machine, or of one user.

Does the steps of `core/service_plan`, and says each that it did. Versions lie side by side, each in a virtual
environment of its own below /opt/dynod: installing over one that runs would break it.
"""

import errno
import importlib.metadata
import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import click

from dynod import __version__
from dynod.cli.terminal import ask
from dynod.core.nftables import NOT_INSTALLED, closed
from dynod.core.service_obstacles import Place, TakenPort, obstacles, ports
from dynod.core.service_plan import (
    CURRENT,
    RULES,
    SOCKET,
    STATE,
    UNIT_FOLDER,
    Link,
    Machine,
    Remove,
    Run,
    Step,
    WriteFile,
    installation,
    removal,
)
from dynod.errors import DynodError
from dynod.listeners import ListenError, listen, parse_listen_address

LOST_AND_FOUND: Final = "lost+found"  # of a disk: fsck(8)
UNITS: Final = "share/dynod/systemd"  # of the environment that dynod is installed in
BOOTED: Final = Path("/run/systemd/system")  # sd_booted(3)
SETTINGS: Final = Path("/etc/dynod/dynod.toml")
_PORT: Final = re.compile(r":(\d+)$")
MODE: Final = 0o644


class InstallError(DynodError):
    """The machine cannot have it."""

    code = "systemd"


@click.command("systemd:install")
@click.option("--user", "for_user", is_flag=True, help="For this user alone, without root.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def install(*, for_user: bool, dry_run: bool, as_json: bool) -> None:
    """Install this dynod as a service, start it, and have it started with the machine.

    Doing it again changes nothing; with another version of dynod, that one takes over at the next `systemctl reload`.
    """
    machine = _machine(for_user=for_user)
    if not dry_run:
        _refuse_what_cannot_be(for_user=for_user)
    steps = [] if Path(machine.environment, "bin/dynod").exists() else _make_environment(machine)
    steps += installation(machine, _texts())
    if not dry_run:
        _refuse_what_is_in_the_way(steps, machine)
    current = Path(machine.versions, CURRENT)
    before = current.resolve() if current.exists() else None
    changed = _do_all(steps, dry_run=dry_run, as_json=as_json)
    if as_json:
        return
    if machine.firewall is not None and dry_run:
        click.echo(f"\nThe rules in {RULES}:\n\n{machine.firewall}", nl=False)
    if not for_user and not _has_nft():
        click.echo(f"{NOT_INSTALLED}: with it, do this again", err=True)
    if dry_run:
        return
    if not any(isinstance(step, WriteFile | Link) for step in changed):
        click.echo("nothing to change")
    elif before not in {None, current.resolve()}:
        click.echo(f"dynod {machine.version} is in place: `systemctl reload dynod` has it take over")
    elif before is None:
        click.echo(f"dynod {machine.version} runs: `dynod apps:create` makes an app, `dynod status` says how it does")
    if for_user:
        click.echo("to have it run while you are not logged in: loginctl enable-linger")


@click.command("systemd:uninstall")
@click.option("--user", "for_user", is_flag=True, help="The service of this user.")
@click.option("--purge", is_flag=True, help="Remove all apps with everything they have, settings, and the user dynod.")
@click.option("--confirm", metavar="NUMBER", help="With --purge: how many apps there are, in place of the question.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def uninstall(*, for_user: bool, purge: bool, confirm: str | None, dry_run: bool, as_json: bool) -> None:
    """Stop the service and remove it; apps, releases and logs stay, unless --purge is given."""
    machine = _machine(for_user=for_user)
    if not dry_run:
        _refuse_what_cannot_be(for_user=for_user)
        if purge:
            _ask(_count_apps(Path(STATE if machine.home is None else f"{machine.home}/.local/state/dynod")), confirm)
    steps = removal(machine, purge=purge)
    if not dry_run:
        _refuse(obstacles(steps, machine, _place))
    _do_all(steps, dry_run=dry_run, as_json=as_json)


# --- what there is --------------------------------------------------------------------------------------------------


def _machine(*, for_user: bool) -> Machine:
    return Machine(
        version=__version__,
        home=str(Path.home()) if for_user else None,
        firewall=None if for_user else _rules(SETTINGS),
        has_ipv6=Path("/proc/net/if_inet6").exists(),
        has_needrestart=Path("/etc/needrestart/conf.d").is_dir(),
    )


def _rules(file: Path) -> str | None:
    """The table that closes the ports of dynos; None where that is not wanted, or cannot be."""
    serve = _asked(file)
    if serve.get("close_dyno_ports") is False or not _has_nft():
        return None
    asked = serve.get("listen", [])
    addresses = [*([asked] if isinstance(asked, str) else asked), serve.get("api"), serve.get("metrics")]
    ports = [int(found[1]) for each in addresses if (found := _PORT.search(str(each)))]
    return closed(but=ports)


def _asked(file: Path) -> dict[str, Any]:
    """`[serve]` of the settings; what is wrong with them whoever starts the service is told."""
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get("serve", {}) if file.exists() else {}
    except (OSError, ValueError):
        found = {}
    return found if isinstance(found, dict) else {}


def _has_nft() -> bool:
    return shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def _texts() -> dict[str, str]:
    """The files of `systemd/`, of the environment that this runs in or of the clone."""
    for folder in (Path(sys.prefix) / UNITS, Path(__file__).parents[2] / "systemd"):
        if (folder / "dynod.service").is_file():
            found = [path for path in folder.rglob("*") if path.is_file() and path.name != "README.md"]
            return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in found}
    raise InstallError("this dynod came without its unit files: install it with pip")


def _refuse_what_cannot_be(*, for_user: bool) -> None:
    if not BOOTED.is_dir():
        raise InstallError("systemd does not run here: have whatever starts services here start `dynod serve`")
    if for_user and os.geteuid() == 0:
        raise InstallError("--user is for one user's own service: leave it away, or be that user")
    if not for_user and os.geteuid() != 0:
        raise InstallError("only root can install a service of the machine: use sudo, or --user for your own")
    if for_user and not _answers(("systemctl", "--user", "show-environment")):
        raise InstallError(
            "no systemd of yours runs: log in by ssh or at a console, not by su or sudo; "
            "`loginctl enable-linger` has it run always"
        )


def _refuse_what_is_in_the_way(steps: Sequence[Step], machine: Machine) -> None:
    found = obstacles(steps, machine, _place)
    if machine.home is None and not found and not _answers(("systemctl", "is-active", "--quiet", SOCKET)):
        found = ports(_taken(steps))
    _refuse(found)


def _refuse(found: Sequence[str]) -> None:
    if found:
        raise InstallError("\n".join([*found, "nothing was changed"]))


def _place(path: str) -> Place:
    """What is there, looked at without following a link."""
    refused = _refused(Path(path).parent)
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return Place(kind="nothing", refused=refused)
    if stat.S_ISLNK(mode):
        return Place(kind="link", target=os.readlink(path), refused=refused)  # noqa: PTH115 (compared as text)
    if stat.S_ISREG(mode):
        return Place(kind="file", text=Path(path).read_text(encoding="utf-8", errors="replace"), refused=refused)
    return Place(kind="folder" if stat.S_ISDIR(mode) else "other", refused=refused)


def _refused(folder: Path) -> str:
    """Why nothing can be made or removed in a folder, which may be still to be made; "" where it can."""
    at = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not at.is_dir():
        return f"{at} is there, and is no folder: move it away"
    if os.access(at, os.W_OK | os.X_OK):
        return ""
    read_only = os.statvfs(at).f_flag & os.ST_RDONLY
    return f"{at} cannot be written to{': its file system is read-only' if read_only else ''}"


def _taken(steps: Sequence[Step]) -> list[TakenPort]:
    """Addresses of the socket unit that are somebody else's; with a drop-in of its own the unit is not looked at."""
    if Path(f"{UNIT_FOLDER}/{SOCKET}.d").is_dir():
        return []
    found = []
    for step in steps:
        if isinstance(step, WriteFile) and step.path.endswith(SOCKET):
            for address in re.findall(r"^ListenStream=(.+)$", step.text, re.MULTILINE):
                try:
                    for each in listen(parse_listen_address(address, option="ListenStream")):
                        each.close()
                except ListenError as error:
                    if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
                        found.append(TakenPort(address=address, by=_listener(int(address.rpartition(":")[2]))))
    return found


def _listener(port: int) -> str:
    """The program that listens on a port, by ss(8), which may not be there."""
    told = " ".join(_output(("ss", "-Hltnp", f"sport = :{port}")))
    match = re.search(r'users:\(\("([^"]+)",pid=(\d+)', told)
    return f"{match[1]}, pid {match[2]}" if match else ""


def _output(argv: Sequence[str]) -> list[str]:
    """The lines that a command prints; none where there is no such command."""
    if not argv:
        return []
    try:
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 (ours)
    except FileNotFoundError:
        return []
    return ended.stdout.splitlines()


def _answers(argv: Sequence[str]) -> bool:
    """Whether a command succeeds."""
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0  # noqa: S603 (ours)
    except FileNotFoundError:
        return False


def _make_environment(machine: Machine) -> list[Step]:
    """The same dynod once more, in a place of its own."""
    return [
        Run(argv=(sys.executable, "-m", "venv", machine.environment)),
        Run(argv=(f"{machine.environment}/bin/python", "-m", "pip", "install", "--quiet", _origin())),
    ]


def _origin() -> str:
    """What pip is to be given: a folder or a wheel if that is what this dynod came from (PEP 610), else its name."""
    told = importlib.metadata.distribution("dynod").read_text("direct_url.json")
    if told:
        url = urlsplit(json.loads(told)["url"])
        if url.scheme == "file" and os.path.exists(path := unquote(url.path)):  # noqa: PTH110
            return path
    return f"dynod=={__version__}"


def _count_apps(state: Path) -> int:
    database = state / "state.db"
    if not database.is_file():
        return 0
    try:
        connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
        with connection:
            (count,) = connection.execute("SELECT count(*) FROM apps").fetchone()
        connection.close()
    except sqlite3.Error as error:
        raise InstallError(f"{database}: {error}") from error
    return int(count)


def _ask(count: int, confirm: str | None) -> None:
    told = confirm or ask(
        f"This removes {count} app{'' if count == 1 else 's'}, with releases, config vars and logs, for good.\n"
        "How many apps are there",
        instead="--confirm NUMBER",
    )
    if told.strip() != str(count):
        raise InstallError(f"there are {count} apps, not {told}: nothing was removed")


# --- doing it -------------------------------------------------------------------------------------------------------


def _do_all(steps: Iterable[Step], *, dry_run: bool, as_json: bool) -> list[Step]:
    """In order, each said; returns those that were not so already. Raises InstallError."""
    changed = []
    for step in steps:
        if dry_run or _do(step):
            changed.append(step)
            if not as_json and (dry_run or not isinstance(step, Run)):
                click.echo(step)
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "steps": [str(step) for step in changed]}, indent=2))
    return changed


def _do(step: Step) -> bool:
    """False where it was so already. Raises InstallError."""
    try:
        match step:
            case WriteFile():
                return _write(Path(step.path), step.text)
            case Link():
                return _link(Path(step.path), step.target)
            case Remove():
                return _remove(Path(step.path))
            case Run():
                return _run(step)
    except OSError as error:
        raise InstallError(f"{step}: {error.strerror or error}") from error


def _write(path: Path, text: str) -> bool:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(MODE)
    new.replace(path)
    return True


def _link(path: Path, target: str) -> bool:
    if path.is_symlink() and os.readlink(path) == target:  # noqa: PTH115 (compared as text)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
    return True


def _remove(path: Path) -> bool:
    if path.is_mount():  # a disk of its own: emptied, and left where it is
        return any(list(map(_remove, [each for each in path.iterdir() if each.name != LOST_AND_FOUND])))
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
    else:
        return False
    return True


def _run(step: Run) -> bool:
    try:
        ended = subprocess.run(step.argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 (of our own table)
    except FileNotFoundError as error:
        if step.optional:
            return False
        raise InstallError(f"{step}: there is no {step.argv[0]} here") from error
    if ended.returncode != 0 and not step.optional:
        told = (ended.stderr or ended.stdout).strip() or f"exit status {ended.returncode}"
        raise InstallError("\n".join([f"{step}: {told}", *_output(step.explained)]))
    return ended.returncode == 0
