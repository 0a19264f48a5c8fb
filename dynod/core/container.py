"""A dyno's container: what it is made of, and the words by which bubblewrap makes it (bwrap(1), 0.11). Pure.

    /app            the app's code, under an overlay of the dyno's own: it may write, and what it wrote ends with it
    /tmp, /dev/shm  its own
    /usr, /etc …    the machine's, read-only; nothing of the daemon, its state or other apps
    the network     the machine's: the port that the router is told is the port that the dyno binds

Process, IPC and host name namespaces are its own; its first process is bubblewrap's, which reaps and passes nothing on.
A session of its own for the command keeps signals, and the terminal's keys, from the process that watches outside.
"""

import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

HOME: Final = "/app"  # Heroku: working folder and HOME of every dyno
FIRST_FILE: Final = 3  # the descriptors that come with the process begin here
TMP: Final = "/tmp"  # noqa: S108 (the dyno's own)
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 (as above)
SHARED_MEMORY_BYTES: Final = 1 << 30  # most of it; it is the dyno's memory. The kernel's own bound is half the machine
ARGUMENTS_FILE: Final = FIRST_FILE  # bubblewrap's own words, which would be everybody's to read in a list of processes
SYSTEM: Final = ("/usr", "/etc", "/opt")
# Read where they are there: caches and answers that programs look for outside /usr and /etc.
SYSTEM_TOO: Final = (
    "/nix/store",
    "/gnu/store",
    "/var/cache/fontconfig",
    "/run/systemd/resolve",  # where systemd-resolved's resolv.conf is
    "/run/resolvconf",
    "/sys/devices/system/cpu",  # how many there are
)
LINKS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # into /usr; on some systems folders still
# By their whole paths: what runs before the change of user must not be looked for where the app can put things.
SETSID: Final = "/usr/bin/setsid"
SETPRIV: Final = "/usr/bin/setpriv"
ENV: Final = "/usr/bin/env"
# Nor may it be told by the app's variables whose code to run: what ld.so(8) and glibc ignore in privileged programs.
_HELD_BACK: Final = frozenset(
    {
        *("GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH", "NIS_PATH"),
        *("NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TMPDIR", "TZDIR"),
    }
)
_HELD_BACK_PREFIXES: Final = ("LD_", "MALLOC_")
# What the tool that changes user inside needs; the dyno itself has none.
_TO_CHANGE_USER: Final = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A folder of the machine, seen at `target`."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of its own, for an app whose daemon may give it one."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What the processes of an app are put in.

    `code`: the folder at /app, which is never written to; "": an empty one. A `Bind` at /app takes its place. The
    code's own path leads to /app too, since scripts of a virtual environment have it in their first line.
    """

    code: str
    user: User | None = None  # None: whoever the daemon is
    binds: tuple[Bind, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is the same for every container. `links`: of `LINKS` those that are symbolic links, and to where.

    `folders`: those of `LINKS` and `SYSTEM` that are there. `visible`: what the operator shows besides, `hidden`:
    folders within what can be seen that must not be.
    """

    links: Mapping[str, str]
    folders: Sequence[str]
    visible: Sequence[str] = ()
    hidden: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Which descriptor holds what, beside the arguments; None: there is no such file."""

    passwd: int
    group: int
    filter: int | None
    namespace: int | None = None  # of users, in which the app's is one and dynod's is root


def scratch_folders(scratch: str) -> dict[str, str]:
    """The folders of one dyno, by what they are for: made before it starts, removed with what it wrote."""
    return {name: posixpath.join(scratch, name) for name in ("code", "upper", "work", "tmp")}


def bwrap_arguments(
    container: Container, *, scratch: str, machine: Machine, files: Files, mapped: bool = True
) -> list[str]:
    """What bubblewrap is to make, in its own words and order: later mounts lie on top of earlier ones.

    `mapped`: the code is shown at the dyno's own folder `code`, with the app's user for its owner.
    """
    folders = scratch_folders(scratch)
    words = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    words += ["--userns", str(files.namespace)] if files.namespace is not None else []
    if container.user is None:
        words += ["--unshare-user", "--cap-drop", "ALL"]
    else:
        words += ["--cap-drop", "ALL"]
        for capability in _TO_CHANGE_USER:
            words += ["--cap-add", capability]
    for name, target in machine.links.items():
        words += ["--symlink", target, name]
    for folder in machine.folders:
        words += ["--ro-bind", folder, folder]
    words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777"]
    words += ["--size", str(SHARED_MEMORY_BYTES), "--tmpfs", SHARED_MEMORY]
    words += ["--bind", folders["tmp"], TMP, "--perms", "0755", "--dir", "/run"]
    words += ["--perms", "0755", "--dir", "/var", "--symlink", TMP, f"/var{TMP}"]
    alias = [container.code] if container.code and not _is_within(container.code, _seen(machine)) else []
    for folder in _ways_to([*SYSTEM_TOO, *machine.visible, *alias]):
        words += ["--perms", "0755", "--dir", folder]  # bubblewrap's own are for nobody but root
    for folder in (*SYSTEM_TOO, *machine.visible):
        words += ["--ro-bind-try", folder, folder]
    for folder in machine.hidden:
        words += ["--tmpfs", folder, "--remount-ro", folder]
    for file, path in ((files.passwd, "/etc/passwd"), (files.group, "/etc/group")):
        words += ["--perms", "0644", "--ro-bind-data", str(file), path]
    words += [*_app(container, folders, mapped=mapped), *_binds(container)]
    for path in alias:
        words += ["--symlink", HOME, path]
    for folder in ("/", "/dev"):  # what is made in memory here is no dyno's to fill, not where it is its user's either
        words += ["--remount-ro", folder]
    if files.filter is not None:
        words += ["--seccomp", str(files.filter)]
    return [*words, "--chdir", HOME]


def _seen(machine: Machine) -> tuple[str, ...]:
    return (HOME, *machine.folders, *machine.links, *machine.visible)


def _ways_to(paths: Collection[str]) -> list[str]:
    """The folders above these, the highest first; not those that are something of their own."""
    found: set[str] = set()
    for path in paths:
        above = posixpath.dirname(path)
        while above not in {"/", TMP, HOME, "/run", "/sys", "/usr", "/etc", "/opt"} and above not in found:
            found.add(above)
            above = posixpath.dirname(above)
    return sorted(found)


def _app(container: Container, folders: Mapping[str, str], *, mapped: bool) -> list[str]:
    if any(bind.target == HOME for bind in container.binds):
        return []
    if not container.code:
        return ["--bind", folders["upper"], HOME]
    lower = folders["code"] if container.user is not None and mapped else container.code
    return ["--overlay-src", lower, "--overlay", folders["upper"], folders["work"], HOME]


def _binds(container: Container) -> Iterator[str]:
    """On top of the app, and the folders on the way there, which its code need not have."""
    for folder in _ways_to([bind.target for bind in container.binds]):
        yield from ("--perms", "0755", "--dir", folder)
    for bind in container.binds:
        yield from ("--bind" if bind.writable else "--ro-bind", bind.source, bind.target)


def _is_within(path: str, folders: Collection[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def split_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What may be there from the start, and what only the dyno's own command is given."""
    held = {
        name: value for name, value in environment.items() if name in _HELD_BACK or name.startswith(_HELD_BACK_PREFIXES)
    }
    return {name: value for name, value in environment.items() if name not in held}, held


def inner_command(argv: Sequence[str], *, user: User | None, terminal: bool, held: Mapping[str, str]) -> list[str]:
    """The dyno's command in a session of its own, on its terminal if it has one, and as its user.

    `held`: variables that it is given last.
    """
    words = [SETSID, *(["--ctty"] if terminal else []), "--"]
    if user is not None:
        words += [SETPRIV, f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
        words += ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]
    if held:
        words += [ENV, *(f"{name}={value}" for name, value in held.items())]
    return [*words, *argv]


def outer_command(bwrap: str, inner: Sequence[str]) -> list[str]:
    """What is executed on the machine. Bubblewrap's arguments come from a descriptor."""
    return [bwrap, "--args", str(ARGUMENTS_FILE), "--", *inner]


def enter_command(
    program: Sequence[str],
    first_process: int,
    argv: Sequence[str],
    *,
    filtered: bool,
    user: User | None,
    terminal: bool,
    held: Mapping[str, str],
    scoped: bool = False,
    by_namespace: bool = False,
) -> list[str]:
    """What is executed on the machine to run something in a container that is there, by the machine's number of its
    first process: `program`, the words of `process/enter`, does it. `filtered`: it comes with the program for seccomp;
    `scoped`: and after that with a Landlock ruleset.

    `by_namespace`: its user is one of a namespace, where dynod's own is root, and may become it.
    """
    held_by = [str(FIRST_FILE) if filtered else "-", str(FIRST_FILE + filtered) if scoped else "-"]
    words = [str(first_process), *held_by, "root" if by_namespace and user else "self"]
    inner = [ENV, f"--chdir={HOME}", *argv]
    return [*program, *words, *inner_command(inner, user=user, terminal=terminal, held=held)]


def passwd_file(machine: str, user: User | None) -> str:
    """The machine's list of users with the app's own: programs ask for the name and home of who they are."""
    return machine if user is None else f"{_whole(machine)}dyno:x:{user.uid}:{user.gid}::{HOME}:/bin/sh\n"


def group_file(machine: str, user: User | None) -> str:
    """The same of groups."""
    return machine if user is None else f"{_whole(machine)}dyno:x:{user.gid}:\n"


def _whole(text: str) -> str:
    return text if text.endswith("\n") or not text else f"{text}\n"


def inside_path(path: str, code: str) -> str:
    """A path of the code's folder as the dyno sees it; another one as it is."""
    return HOME + path[len(code) :] if code and _is_within(path, (code,)) else path
