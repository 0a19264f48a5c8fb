"""Keeps dynos apart by users alone, where no containers can be made: a user and a copy of the code for each.

Flow: launch → **own users** → placement; the same seam as `container.Containers`. What they see besides, processes,
`/tmp`, the rest of the machine, is as for every user of it. What the words are is decided in `core.own_user`.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from dynod.core.container import Container, User
from dynod.core.discarded import Discarded, Written
from dynod.core.own_user import BEGUN, CODE_IS, COPIED, enter_command, first_command, folders, own_paths, reach
from dynod.process.container import (
    BLOCK,
    NAMED,
    Enclosed,
    Wanted,
    entries,
    file_of,
    free_bytes,
    not_enclosed,
    remove,
    size_below,
)
from dynod.process.nameless_files import below, nameless_bytes

NOT_YET: Final = 0  # the time of the file that says that the copy is whole, until it is


class Confine(Protocol):
    """Makes a Landlock ruleset, a descriptor; `signals_within`: who is held to it signals nobody else."""

    def __call__(self, *, read: Iterable[str], written: Iterable[str], signals_within: bool) -> int: ...


class OwnUsers:
    """Those of one daemon. `root`: STATE/dynos, into which apps' users can get."""

    def __init__(
        self,
        root: Path,
        *,
        visible: Sequence[str] = (),
        confine: Confine | None = None,
        call_filter: bytes | None = None,
    ) -> None:
        """`visible`: what dynos read besides the system. `confine`: None: they read what every user may.

        `call_filter`: a program for seccomp.
        """
        self._root = root
        self._visible = visible
        self._confine = confine
        self._call_filter = call_filter
        self._sizes: dict[str, int] = {}  # of code, by instance

    @property
    def confines(self) -> bool:
        """Whether dynos are held to what a container would show."""
        return self._confine is not None

    def enclose(self, instance_id: str, container: Container, wanted: Wanted) -> Enclosed:
        """As `Containers.enclose`. Raises OSError."""
        scratch = os.fspath(self._root / instance_id)
        _make(self._root / instance_id, _user(container), container.code)
        files = [os.open(container.code, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)] if container.code else []
        argv = first_command(wanted.argv, container, home=folders(scratch)[0])
        try:
            return self._as_user(argv, wanted.env, container, scratch, files, signals_within=True)
        except OSError:
            for fd in files:
                os.close(fd)
            raise

    def enter(self, instance_id: str, outer: int, container: Container, wanted: Wanted) -> Enclosed:
        """As `Containers.enter`: whoever enters needs the dyno's user and folder, and no process of it.

        It may signal the dyno, which another's ruleset lets nobody do who may signal those within alone.
        """
        del outer
        scratch = os.fspath(self._root / instance_id)
        return self._as_user(enter_command(wanted.argv), wanted.env, container, scratch, [], signals_within=False)

    def _as_user(
        self,
        argv: list[str],
        env: Mapping[str, str],
        container: Container,
        scratch: str,
        files: list[int],
        *,
        signals_within: bool,
    ) -> Enclosed:
        rules, filters = self._held_by(container, scratch, signals_within=signals_within)
        user = _user(container)
        return Enclosed(
            argv=argv,
            env=own_paths(env, scratch=scratch),
            cwd="/",
            files=[*files, *filters, *rules],
            owner=(user.uid, user.gid),
            shown_as=None,
            watches=False,
            as_owner=True,
            confined=bool(rules),
            filtered=bool(filters),
        )

    def hold(self, container: Container, wanted: Wanted, cwd: str) -> Enclosed:
        """What is no dyno, such as a build: as the user, and held to what a dyno is; `container`: what it may open.

        Raises OSError.
        """
        rules, filters = self._held_by(container, cwd, signals_within=True)
        plain = not_enclosed(wanted, cwd, _user(container))
        return plain._replace(files=[*filters, *rules], confined=bool(rules), filtered=bool(filters))

    def _held_by(self, container: Container, scratch: str, *, signals_within: bool) -> tuple[list[int], list[int]]:
        """Descriptors of a ruleset and of a filter, as far as there are any. Raises OSError."""
        rules, filters = [], []
        if self._confine is not None:
            wide = reach(container, scratch=scratch, visible=self._visible)
            rules.append(self._confine(read=wide.read, written=wide.written, signals_within=signals_within))
        if self._call_filter is not None:
            filters.append(file_of(self._call_filter))
        return rules, filters

    def discard(self, instance_id: str) -> Discarded:
        """As `Containers.discard`. Blocks."""
        self._sizes.pop(instance_id, None)
        scratch = self._root / instance_id
        home = Path(folders(os.fspath(scratch))[0])
        found = Discarded.of(
            (
                Written(os.path.relpath(entry.path, home), status.st_blocks * 512)
                for entry, status in _own(scratch)
                if stat.S_ISREG(status.st_mode)
            ),
            names=NAMED,
        )
        remove(scratch)
        return found

    def written(self, instance_id: str, most: int) -> int:
        """As `Containers.written`: what there is beyond the size of the code, as times are the dyno's to set. Blocks.

        So code that it has removed makes room for as much of its own.
        """
        scratch = self._root / instance_id
        copied = self._code_size(instance_id)
        if copied is None:
            return 0
        return max(0, size_below(map(Path, folders(os.fspath(scratch))), copied + most) - copied)

    def nameless(self, instance_id: str, pids: Collection[int]) -> int:
        """As `Containers.nameless`. Blocks."""
        return nameless_bytes(pids, below(os.fspath(self._root / instance_id)))

    def free(self) -> int:
        """As `Containers.free`."""
        return free_bytes(self._root)

    def _code_size(self, instance_id: str) -> int | None:
        """Bytes that the copy of its code takes, looked up once; None: of another version's dynos it is not known."""
        if instance_id not in self._sizes:
            scratch = self._root / instance_id
            try:
                code = (scratch / CODE_IS).readlink()
                same = code.stat().st_dev == scratch.stat().st_dev
            except OSError:
                return None
            self._sizes[instance_id] = size_below([code], sys.maxsize) if same else _apparent_size(code)
        return self._sizes[instance_id]

    def close(self) -> None:
        """There is nothing to let go of."""


def _user(container: Container) -> User:
    if container.user is None:
        raise ValueError("a dyno without a user cannot be kept apart by users")
    return container.user


def _make(scratch: Path, user: User, code: str) -> None:
    """Its folders; again where a launch is tried again.

    The outermost stays dynod's, and the dyno may but go through it: else it could lay links where dynod works.
    """
    own = folders(os.fspath(scratch))
    for folder in (os.fspath(scratch), *own):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)  # noqa: PTH102 (a text)
    (scratch / BEGUN).touch()
    with contextlib.suppress(FileExistsError):
        (scratch / CODE_IS).symlink_to(code or os.devnull)
    copied = os.fspath(scratch / COPIED)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(copied, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.utime(copied, ns=(NOT_YET, NOT_YET))
    for each in (*own, copied):
        os.chown(each, user.uid, user.gid, follow_symlinks=False)
    os.chown(scratch, -1, user.gid)
    scratch.chmod(0o710)


def _apparent_size(code: Path) -> int:
    """Of code on another file system, which may store it in another way: what it takes where nothing is saved."""
    sizes = 0
    for entry in entries(code):
        with contextlib.suppress(OSError):
            sizes += max(-(-entry.stat(follow_symlinks=False).st_size // BLOCK), 1) * BLOCK
    return sizes


def _own(scratch: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """What the dyno made or changed in its copy, as far as the times of its files tell: for words, not for limits.

    A copied file has the time of its original, and was last touched before the copy was whole. The kernel's times go
    by ticks of some milliseconds, so one of the two alone would now and then be wrong about a dyno's first ones.
    """
    home = Path(folders(os.fspath(scratch))[0])
    try:
        begun_ns, copied = (scratch / BEGUN).stat().st_mtime_ns, (scratch / COPIED).lstat()
    except OSError:
        return
    if copied.st_mtime_ns == NOT_YET:
        return  # it has not got that far
    whole_ns = min(copied.st_mtime_ns, copied.st_ctime_ns)
    for entry in entries(home):
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            if status.st_ctime_ns > whole_ns or status.st_mtime_ns >= begun_ns:
                yield entry, status
