"""Makes the containers of dynos: folders of their own before they start, what they wrote counted and removed after.

Flow: launch → **containers** → placement. What a container is made of and by which words is `core.container`'s; here
are the folders, the descriptors and the machine. `enclose` is for whoever starts something in one: a dyno, a build.

    STATE/dynos/INSTANCE/{upper,work}    what the dyno writes over its code (overlayfs)
    STATE/dynos/INSTANCE/tmp             its /tmp
    STATE/dynos/INSTANCE/code            where the code is mounted with the app's user for its owner, seen by it alone
"""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from dynod.core.container import (
    ARGUMENTS_FILE,
    HOME,
    LINKS,
    SYSTEM,
    TMP,
    Container,
    Files,
    Machine,
    User,
    bwrap_arguments,
    enter_command,
    group_file,
    inner_command,
    outer_command,
    passwd_file,
    scratch_folders,
    split_environment,
)
from dynod.core.discarded import Discarded, Written
from dynod.process.nameless_files import nameless_bytes, on_mounts

_OWN: Final = "--user"  # unshare(1)
# By its path and without site packages: it needs nothing else, and starts in a third of the time.
_ENTER: Final = (sys.executable, "-I", "-S", os.fspath(Path(__file__).with_name("enter.py")))
_STICKY: Final = 0o1777
BLOCK: Final = 4096  # bytes
DYNOS: Final = "dynos"  # of the state folder
NAMED: Final = 3  # of the files that are discarded, so many by name


class Wanted(NamedTuple):
    """What is to run in a container. `terminal`: its standard streams are one.

    `of_app`: to enter is the app's own idea, not that of somebody who looks after it.
    """

    argv: Sequence[str]
    env: Mapping[str, str]  # HOME and paths of the code as `core.container.inside_path` gives them
    terminal: bool = False
    of_app: bool = False


class Enclosed(NamedTuple):
    """How to start something in its container; whoever asked closes the `files` once it has been started."""

    argv: list[str]
    env: Mapping[str, str]
    cwd: str
    files: list[int]
    owner: tuple[int, int] | None
    shown_as: tuple[str, str] | None
    watches: bool  # it makes a container, or enters one, and only watches over what runs in there
    as_owner: bool = False  # it is that user from the start
    confined: bool = False  # the last of the files is a Landlock ruleset
    filtered: bool = False  # the last of the files, but for that, is a program for seccomp


def not_enclosed(wanted: Wanted, cwd: str, user: User | None = None) -> Enclosed:
    """The same without a container; as a user that is not the daemon's, if there is one."""
    owner = None if user is None else (user.uid, user.gid)
    return Enclosed(list(wanted.argv), wanted.env, cwd, [], owner, None, watches=False, as_owner=owner is not None)


class Encloses(Protocol):
    """What keeps dynos apart (`Containers`, `OwnUsers`), as those see it who start things."""

    def enclose(self, instance_id: str, container: Container, wanted: Wanted) -> Enclosed: ...
    def enter(self, instance_id: str, outer: int, container: Container, wanted: Wanted) -> Enclosed: ...
    def discard(self, instance_id: str) -> Discarded: ...
    def written(self, instance_id: str, most: int) -> int: ...
    def nameless(self, instance_id: str, pids: Collection[int]) -> int: ...
    def free(self) -> int: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What containers are made with. `bwrap` is its path; `filter`: the program for seccomp, None without one."""

    bwrap: str
    machine: Machine
    filter: bytes | None
    mapped: bool = True  # files can be shown as another user's
    scope: Callable[[], int] | None = None  # makes a Landlock ruleset by which dynos reach no sockets of others
    by_namespace: bool = False  # dynod is not root and may change users: they are those of namespaces of its own


class Containers:
    """Those of one daemon. `root`: STATE/dynos."""

    def __init__(self, root: Path, tools: Tools) -> None:
        self._root = root
        self._tools = tools
        self._namespaces: dict[tuple[int, int, User], int] = {}
        self._scope: int | None = None

    def enclose(self, instance_id: str, container: Container, wanted: Wanted) -> Enclosed:
        """Everything that is needed to start it in a container; its folders are there from now on. Raises OSError.

        Again for the same instance: the same folders. To be ended by `discard`.
        """
        scratch = self._root / instance_id
        folders = _made(scratch, container.user)
        files: list[int] = []
        try:
            files += self._files(container, os.fspath(scratch))
            shown_as = None
            if container.user is not None and container.code and self._shows:
                owner = Path(container.code).stat()
                files.append(os.dup(self._namespace(container.user, owner.st_uid, owner.st_gid)))
                shown_as = (container.code, folders["code"])
            files += self._rules()
        except OSError:
            for fd in files:
                os.close(fd)
            raise
        user = container.user
        env, held = split_environment(wanted.env)
        inner = inner_command(wanted.argv, user=user, terminal=wanted.terminal, held=held)
        return Enclosed(
            argv=outer_command(self._tools.bwrap, inner),
            env=env,
            cwd="/",
            files=files,
            owner=None if user is None else (user.uid, user.gid),
            shown_as=shown_as,
            watches=True,
            confined=self._tools.scope is not None,
        )

    def enter(self, instance_id: str, outer: int, container: Container, wanted: Wanted) -> Enclosed:
        """How to run something beside a dyno, in its container. `outer`: the pid that the keeper knows the dyno by.

        Raises ProcessLookupError where it has ended, or has not begun. What is the app's own idea is held to the dyno's
        ruleset too; whoever looks after it may trace what they find there, which none could from another one's.
        """
        del instance_id
        user = container.user
        env, held = split_environment(wanted.env)
        first = first_process(outer)
        files = [file_of(self._tools.filter)] if self._tools.filter is not None else []
        rules = self._rules() if wanted.of_app else []
        return Enclosed(
            argv=enter_command(
                _ENTER,
                first,
                wanted.argv,
                filtered=bool(files),
                scoped=bool(rules),
                user=user,
                terminal=wanted.terminal,
                held=held,
                by_namespace=self._tools.by_namespace,
            ),
            env=env,
            cwd="/",
            files=files + rules,
            owner=None if user is None else (user.uid, user.gid),
            shown_as=None,
            watches=True,
        )

    def discard(self, instance_id: str) -> Discarded:
        """Remove what it wrote, and say what that was. Blocks; nothing of the instance may run any more."""
        scratch = self._root / instance_id
        found = Discarded.of(_written(scratch / "upper"), names=NAMED)
        remove(scratch)
        return found

    def written(self, instance_id: str, most: int) -> int:
        """Bytes on disk of what it has written over its code and to /tmp; counted until it is more than `most`. Blocks.

        Each name counts as a block at least, so that their number is bounded too, and with it this walk. A file that
        has no name any more is `nameless`'s.
        """
        return size_below((self._root / instance_id / folder for folder in ("upper", "tmp")), most)

    def nameless(self, instance_id: str, pids: Collection[int]) -> int:
        """Bytes on disk of files that its processes have removed and hold open. Blocks."""
        del instance_id
        return nameless_bytes(pids, on_mounts(HOME, TMP))

    def free(self) -> int:
        """Bytes that are free where dynos write. Raises OSError."""
        return free_bytes(self._root)

    def close(self) -> None:
        """Let go of what the kernel holds for the apps' users."""
        for fd in self._namespaces.values():
            os.close(fd)
        self._namespaces.clear()
        if self._scope is not None:
            os.close(self._scope)
            self._scope = None

    def _rules(self) -> list[int]:
        """A descriptor of the ruleset for dynos, if there is one. Raises OSError."""
        if self._tools.scope is None:
            return []
        if self._scope is None:
            self._scope = self._tools.scope()
        return [os.dup(self._scope)]

    def _files(self, container: Container, scratch: str) -> list[int]:
        """In the order of their numbers: the arguments, users, groups, filter and namespace as far as there are any."""
        by_namespace = self._tools.by_namespace and container.user is not None
        contents = [
            os.fsencode(passwd_file(_text("/etc/passwd"), container.user)),
            os.fsencode(group_file(_text("/etc/group"), container.user)),
            *([self._tools.filter] if self._tools.filter is not None else []),
        ]
        numbers = Files(
            passwd=ARGUMENTS_FILE + 1,
            group=ARGUMENTS_FILE + 2,
            filter=ARGUMENTS_FILE + 3 if self._tools.filter is not None else None,
            namespace=ARGUMENTS_FILE + 1 + len(contents) if by_namespace else None,
        )
        tools = self._tools
        words = bwrap_arguments(container, scratch=scratch, machine=tools.machine, files=numbers, mapped=self._shows)
        arguments = b"\0".join(os.fsencode(word) for word in words) + b"\0"
        made = [file_of(content) for content in (arguments, *contents)]
        if by_namespace and container.user is not None:
            try:
                made.append(os.dup(self._namespace(container.user, os.geteuid(), os.getegid())))
            except OSError:
                for fd in made:
                    os.close(fd)
                raise
        return made

    @property
    def _shows(self) -> bool:
        """Whether the code is shown as the app's user's."""
        return self._tools.mapped and not self._tools.by_namespace

    def _namespace(self, user: User, uid: int, gid: int) -> int:
        """One by which the owner of code is the app's user; where users are a namespace's, the app's and dynod's own.

        `uid` and `gid`: of the code, or dynod's. Raises OSError.
        """
        key = (uid, gid, user)
        if key not in self._namespaces:
            own = self._tools.by_namespace
            uids = [(0, uid), (user.uid, user.uid)] if own else [(uid, user.uid)]
            gids = [(0, gid), (user.gid, user.gid)] if own else [(gid, user.gid)]
            self._namespaces[key] = user_namespace(uids, gids)
        return self._namespaces[key]


def sweep(root: Path, living: Collection[str]) -> None:
    """Remove what is left of instances that are no more: dynod was killed, or the machine. Blocks."""
    with contextlib.suppress(OSError):
        for left in list(root.iterdir()):
            if left.name not in living:
                remove(left)


def first_process(outer: int) -> int:
    """The machine's number of the first process in a container. Raises ProcessLookupError."""
    try:
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text(encoding="ascii").split()
    except OSError:
        children = []
    if not children:
        raise ProcessLookupError(errno.ESRCH, "the dyno does not run")
    return int(children[0])


def user_namespace(uids: Sequence[tuple[int, int]], gids: Sequence[tuple[int, int]]) -> int:
    """The descriptor of a user namespace with these users and groups: inside, outside. Raises OSError."""
    command = ["unshare", _OWN, "cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:  # noqa: S603 (util-linux's)
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 (PIPE was asked for)
        try:
            process.stdin.write(b".")
            process.stdin.flush()
            if process.stdout.read(1) != b".":  # it has answered: so it is in there by now
                said = process.stderr.read().decode(errors="backslashreplace").strip()
                raise PermissionError(f"no user namespace can be made: {said}")
            for name, pairs in (("uid_map", uids), ("gid_map", gids)):
                lines = "".join(f"{inside} {outside} 1\n" for inside, outside in pairs)
                Path(f"/proc/{process.pid}/{name}").write_text(lines, encoding="ascii")
            return os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            process.kill()


def machine(*, visible: Sequence[str] = (), hidden: Sequence[str] = ()) -> Machine:
    """What containers show of this machine."""
    links = {name: os.readlink(name) for name in LINKS if os.path.islink(name)}  # noqa: PTH114, PTH115 (texts)
    folders = [name for name in (*LINKS, *SYSTEM) if os.path.isdir(name) and name not in links]  # noqa: PTH112
    seen = [*folders, *visible]
    return Machine(
        links=links,
        folders=folders,
        visible=visible,
        hidden=[each for each in hidden if os.path.isdir(each) and _under(each, seen)],  # noqa: PTH112
    )


def _under(path: str, folders: Sequence[str]) -> bool:
    return any(path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _made(scratch: Path, user: User | None) -> dict[str, str]:
    folders = scratch_folders(os.fspath(scratch))
    scratch.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (os.fspath(scratch), *folders.values()):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o755)  # noqa: PTH102 (a text)
    os.chmod(folders["upper"], 0o755)  # noqa: PTH101, S103 (it becomes /app, and dynod's umask may be a service's)
    os.chmod(folders["tmp"], _STICKY)  # noqa: PTH101
    if user is not None:
        os.chown(folders["upper"], user.uid, user.gid)
    return folders


def file_of(content: bytes) -> int:
    """A descriptor from which these bytes are read."""
    fd = os.memfd_create("dynod", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _written(upper: Path) -> Iterator[Written]:
    """Regular files that the dyno made or changed. What it removed is a device number 0, and no file."""
    for entry in entries(upper):
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield Written(os.path.relpath(entry.path, upper), status.st_blocks * 512)


def free_bytes(folder: Path) -> int:
    """Of its file system, for whoever is not root. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def size_below(folders: Iterable[Path], most: int) -> int:
    """Bytes on disk of everything below these; counted until it is more than `most`. Blocks.

    Each name counts as a block at least, a file with several once.
    """
    total = 0
    linked: set[int] = set()
    for folder in folders:
        for entry in entries(folder):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    if status.st_ino in linked:
                        continue
                    linked.add(status.st_ino)
                total += max(status.st_blocks * 512, BLOCK)
            if total > most:
                return total
    return total


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Everything below it. Not os.walk, which calls itself: how deep folders are is the dyno's to choose."""
    waiting = [os.fspath(folder)]
    while waiting:
        with contextlib.suppress(OSError), _listed(waiting.pop()) as found:
            for entry in found:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _listed(folder: str) -> "os._ScandirIterator[str]":
    """What is in it, also where a dyno of dynod's own user has taken the right to look from its folder. Raises OSError.

    Else such a folder would hide what it holds, and stay for ever. By a descriptor that follows no link: a dyno could
    put one in its place.
    """
    try:
        return os.scandir(folder)
    except PermissionError:
        opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            mode = stat.S_IMODE(os.fstat(opened).st_mode) | stat.S_IRWXU  # taking no right from a folder that it is not
            os.chmod(f"/proc/self/fd/{opened}", mode)  # noqa: PTH101 (fchmod(2) takes no such descriptor)
        finally:
            os.close(opened)
        return os.scandir(folder)


def remove(folder: Path) -> None:
    """What a dyno has left, as far as that can be done. Blocks."""
    if os.geteuid() != 0:
        for _ in entries(folder):
            pass  # each that is closed is opened by the look
    for each in (folder / "work" / "work", folder):  # overlayfs keeps a folder there that not even its owner may enter
        with contextlib.suppress(OSError):
            if not each.is_symlink() and each.lstat().st_uid == os.geteuid():
                each.chmod(0o700)
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:  # as above
        subprocess.run(["rm", "-rf", "--", folder], stderr=subprocess.DEVNULL, check=False)  # noqa: S603, S607 (POSIX)
