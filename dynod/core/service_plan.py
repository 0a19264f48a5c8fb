"""What `dynod systemd:install` and `systemd:uninstall` do, as a list of steps: decided here, done by `cli/systemd`.

Pure: it is given what the machine is like and the texts of the unit files, and returns values. Steps say what shall be
so, not what to change, which is what lets them be done twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NAME: Final = "dynod"
VERSIONS: Final = "/opt/dynod"
STATE: Final = "/var/lib/dynod"
SETTINGS: Final = "/etc/dynod"
CURRENT: Final = "current"
UNIT_FOLDER: Final = "/etc/systemd/system"
SOCKET: Final = "dynod.socket"

_LAST_WORDS: Final = ("--unit=dynod.service", "--identifier=dynod", "--lines=5", "--output=cat", "--no-pager")

# Which file is ours to replace, and where changes belong: the first lines of each.
MARK: Final = "# Written by `dynod systemd:install`"
_HEAD: Final = f"{MARK}, which replaces what is changed here: `systemctl edit` keeps changes of a unit apart.\n"
FIREWALL: Final = "dynod-firewall.service"
RULES: Final = f"{SETTINGS}/dynod.nft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What matters of it. `home` and `user`: for one user alone, without root; paths are absolute."""

    version: str  # of the dynod that is to be installed
    home: str | None = None
    has_ipv6: bool = True
    has_needrestart: bool = False
    firewall: str | None = None  # nftables' table that closes the ports of dynos; None: they stay open

    @property
    def versions(self) -> str:
        """The folder of versions, side by side: each a virtual environment of its own."""
        return VERSIONS if self.home is None else f"{self.home}/.local/share/dynod"

    @property
    def environment(self) -> str:
        """Where this version is, or will be."""
        return f"{self.versions}/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFile:
    """A file has this content."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link leads there; it is replaced in one step, never missing."""

    path: str
    target: str

    def __str__(self) -> str:
        return f"link {self.path} -> {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command succeeds; `optional`: or fails without a word, since what it would undo may not be there.

    `explained`: the command that tells why it has failed, where it does not itself.
    """

    argv: tuple[str, ...]
    optional: bool = False
    explained: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"run {' '.join(self.argv)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """There is no such file, link or folder."""

    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"


Step = WriteFile | Link | Run | Remove


def installation(machine: Machine, texts: Mapping[str, str]) -> list[Step]:
    """Units, user, folders and links, and the service started. `texts`: of the folder `systemd/`, by file name."""
    texts = {name: _HEAD + text for name, text in texts.items()}
    if machine.home is not None:
        return [
            WriteFile(path=_user_unit(machine.home), text=texts["user/dynod.service"]),
            Link(path=f"{machine.versions}/{CURRENT}", target=machine.version),
            Link(path=f"{machine.home}/.local/bin/dynod", target=f"{machine.versions}/{CURRENT}/bin/dynod"),
            Run(argv=("systemctl", "--user", "daemon-reload")),
            Run(
                argv=("systemctl", "--user", "enable", "--now", "dynod.service"),
                explained=("journalctl", "--user", *_LAST_WORDS),
            ),
        ]
    files: list[Step] = [
        WriteFile(path="/etc/sysusers.d/dynod.conf", text=texts["dynod.sysusers"]),
        WriteFile(path="/etc/tmpfiles.d/dynod.conf", text=texts["dynod.tmpfiles"]),
        WriteFile(path=f"{UNIT_FOLDER}/dynod.service", text=texts["dynod.service"]),
        WriteFile(path=f"{UNIT_FOLDER}/{SOCKET}", text=_socket(texts["dynod.socket"], machine)),
    ]
    if machine.has_needrestart:
        files.append(WriteFile(path="/etc/needrestart/conf.d/dynod.conf", text=texts["dynod.needrestart.conf"]))
    firewall: list[Step]
    if machine.firewall is None:
        firewall = [*_without_firewall(), Run(argv=("systemctl", "daemon-reload"))]
    else:
        files.append(WriteFile(path=RULES, text=f"{MARK}.\n{machine.firewall}"))
        files.append(WriteFile(path=f"{UNIT_FOLDER}/{FIREWALL}", text=texts[FIREWALL]))
        firewall = [
            Run(argv=("systemctl", "daemon-reload")),
            Run(argv=("systemctl", "enable", FIREWALL)),
            Run(argv=("systemctl", "reload-or-restart", FIREWALL)),
        ]
    return [
        *files,
        Run(argv=("systemd-sysusers", "/etc/sysusers.d/dynod.conf")),
        Run(argv=("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/dynod.conf")),
        Link(path=f"{VERSIONS}/{CURRENT}", target=machine.version),
        Link(path="/usr/local/bin/dynod", target=f"{VERSIONS}/{CURRENT}/bin/dynod"),
        *firewall,
        Run(argv=("systemctl", "enable", "dynod.socket", "dynod.service")),
        Run(argv=("systemctl", "start", SOCKET, "dynod.service"), explained=("journalctl", *_LAST_WORDS)),
    ]


def removal(machine: Machine, *, purge: bool) -> list[Step]:
    """The service stopped and everything of `installation` removed; with `purge` also what apps have left."""
    if machine.home is not None:
        kept = [f"{machine.home}/.local/state/dynod", f"{machine.home}/.config/dynod"] if purge else []
        return [
            Run(argv=("systemctl", "--user", "disable", "--now", "dynod.service"), optional=True),
            Remove(path=_user_unit(machine.home)),
            Remove(path=f"{machine.home}/.local/bin/dynod"),
            Remove(path=machine.versions),
            *(Remove(path=path) for path in kept),
            Run(argv=("systemctl", "--user", "daemon-reload")),
        ]
    steps: list[Step] = [
        Run(argv=("systemctl", "disable", "--now", "dynod.socket", "dynod.service"), optional=True),
        *_without_firewall(),
        *(
            Remove(path=path)
            for path in (
                f"{UNIT_FOLDER}/dynod.service",
                f"{UNIT_FOLDER}/{SOCKET}",
                f"{UNIT_FOLDER}/dynod.service.d",
                f"{UNIT_FOLDER}/dynod.socket.d",
                "/etc/sysusers.d/dynod.conf",
                "/etc/tmpfiles.d/dynod.conf",
                "/etc/needrestart/conf.d/dynod.conf",
                "/usr/local/bin/dynod",
                VERSIONS,
                "/run/dynod",
            )
        ),
        Run(argv=("systemctl", "daemon-reload")),
        Run(argv=("systemctl", "reset-failed", "dynod.service", "dynod.socket"), optional=True),
    ]
    if purge:
        steps += [
            Remove(path=STATE),
            Remove(path=SETTINGS),
            Run(argv=("userdel", NAME), optional=True),
            Run(argv=("groupdel", NAME), optional=True),
        ]
    return steps


def _without_firewall() -> list[Step]:
    """Its unit removes the table when it stops."""
    return [
        Run(argv=("systemctl", "disable", "--now", FIREWALL), optional=True),
        Remove(path=f"{UNIT_FOLDER}/{FIREWALL}"),
        Remove(path=RULES),
    ]


def _user_unit(home: str) -> str:
    return f"{home}/.config/systemd/user/dynod.service"


def _socket(text: str, machine: Machine) -> str:
    """Without IPv6 a socket for it cannot be had, and would fail the unit."""
    if machine.has_ipv6:
        return text
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("ListenStream=["))
