"""Starting a process the way a dyno needs it: own session, own limits, one pipe for stdout and stderr, nothing else.

Where somebody is to be attached to it there is more: a terminal in place of the pipe, or a second pipe for stdin.

Own fork and exec, because `posix_spawn` can set neither working folder, limits nor a parent-death signal.
The keeper is single-threaded, which is what makes a fork without an immediate exec safe.
"""

import contextlib
import errno
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from dynod.keeper.call_filter import put_on
from dynod.keeper.cgroups import enter
from dynod.keeper.features import Features, become, drop_ambient_capabilities, end_with_parent, gain_nothing
from dynod.keeper.landlock import restrict
from dynod.keeper.limits import Limits, limit_processes
from dynod.keeper.mounts import show_as

_REPORT = "{} {}"
_FIRST_FILE = 3  # of those that a process is given beside its standard ones
_REPORT_BYTES = 64  # more than any report; it comes whole, being shorter than PIPE_BUF
# The keeper's handlers: their signals are held back over the fork, and set right in the child. What else is not at its
# default is what whoever started dynod has it ignore, and Python SIGPIPE. Looked up once, as plain numbers, because the
# module `signal` makes enumeration members of every number: with all 62 signals blocked and reset at each start, the
# keeper's CPU to start 500 dynos was 1.0 s in place of 0.6 s (loadtests/dynos.py start --dynos 500).
CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD)
_TO_RESET = tuple({*CAUGHT, *(each for each in signal.valid_signals() if signal.getsignal(each) is signal.SIG_IGN)})
_DYNOS_UMASK = 0o022  # as programs expect it; dynod's own is a service's, under which nobody else reads anything
_OOM_SCORE = "/proc/self/oom_score_adj"


def _is_shielded() -> bool:
    try:
        with open(_OOM_SCORE, encoding="ascii") as file:  # noqa: PTH123 (pathlib is heavy here)
            return int(file.read()) < 0
    except (OSError, ValueError):
        return False


_SHIELDED = _is_shielded()  # from the kernel's choice of whom to end for want of memory: dynod, and no dyno


class Forked(NamedTuple):
    """A process on its way to its exec, and the keeper's ends: of its output, then of its stdin if that is a pipe.

    A terminal is one end for both. `report` is readable once `outcome` can tell.
    """

    pid: int
    ends: list[int]
    report: int


class Inside(NamedTuple):
    """What is different for a process that is kept apart: as in `protocol.Spawn`, by the same names.

    `files` are its descriptors from 3 on, `mapping` the namespace by which `shown_as` maps owners, `filter` a program
    for seccomp, `ruleset` Landlock's. `processes`: how many its user may have, None: as many as whoever started dynod.
    """

    watches: bool = False
    owner: tuple[int, int] | None = None
    as_owner: bool = False
    shown_as: tuple[str, str] | None = None
    mapping: int = -1
    filter: int = -1
    ruleset: int = -1
    files: tuple[int, ...] = ()
    processes: int | None = None


class _Ends(NamedTuple):
    """Descriptors of a process to be: its own, and those that stay here."""

    stdin: int
    output: int
    made: list[int]  # those of the above that are its own, to be closed here
    kept: list[int]


class SpawnRefusedError(Exception):
    """The operating system refused; `during` names the step."""

    def __init__(self, number: int, during: str) -> None:
        super().__init__(f"{during}: {os.strerror(number)}")
        self.errno = number
        self.during = during


def fork(
    argv: list[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    stdin: int,
    limits: Limits,
    groups: Sequence[str],
    features: Features,
    terminal: tuple[int, int] | None = None,
    own_stdin: bool = False,
    inside: Inside | None = None,
) -> Forked:
    """Fork, and have the child enter the control groups whose folders `groups` are, and exec.

    `terminal`: rows and columns of one that it gets, and controls. Else `stdin` is what it reads, or with `own_stdin`
    a pipe. Raises SpawnRefusedError with the failing step; how the child fares `outcome` tells.
    """
    keeper = os.getpid()
    inside = inside or Inside()
    ends = _make_ends(stdin, terminal, own_stdin=own_stdin, owner=inside.owner)
    try:
        report, report_end = os.pipe()
    except OSError as error:
        _close(ends.made + ends.kept)
        raise SpawnRefusedError(error.errno or 0, "pipe") from error
    # Blocked over the fork: a signal that met the child before it has handlers of its own would be written to the
    # keeper's wake-up pipe a second time.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)
    try:
        pid = os.fork()
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _close([*ends.made, *ends.kept, report, report_end])
        raise SpawnRefusedError(error.errno or 0, "fork") from error
    if pid == 0:
        _child(
            argv,
            env=env,
            cwd=cwd,
            stdin=ends.stdin,
            output=ends.output,
            takes_terminal=terminal is not None and not inside.watches,
            inside=inside,
            report=report_end,
            limits=limits,
            groups=groups,
            keeper=keeper,
            features=features,
        )
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    _close([*ends.made, report_end])
    return Forked(pid, ends.kept, report)


def outcome(forked: Forked) -> SpawnRefusedError | None:
    """None once the exec has succeeded. Waits for that, unless `report` is readable."""
    refusal = os.read(forked.report, _REPORT_BYTES)  # nothing, once the exec has closed the other end
    os.close(forked.report)
    if not refusal:
        return None
    with contextlib.suppress(ChildProcessError):  # whoever takes every status there is may have taken this one
        os.waitpid(forked.pid, 0)
    _close(forked.ends)
    number, during = refusal.decode("ascii").split(" ", 1)
    return SpawnRefusedError(int(number), during)


def give_up(forked: Forked) -> None:
    """End a child that does not get as far as its exec. Its status is for the caller to take, whenever it comes."""
    os.kill(forked.pid, signal.SIGKILL)
    _close([*forked.ends, forked.report])


def _make_ends(
    stdin: int, terminal: tuple[int, int] | None, *, own_stdin: bool, owner: tuple[int, int] | None
) -> _Ends:
    during = "pipe"
    fds: list[int] = []
    try:
        if terminal is not None:
            during = "openpty"
            fds += os.openpty()
            master, own = fds
            during = "window size"
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *terminal, 0, 0))
            if owner is not None:
                during = "owner"
                os.fchown(own, *owner)
            return _Ends(stdin=own, output=own, made=[own], kept=[master])
        fds += os.pipe()
        if owner is not None:
            during = "owner"
            os.fchown(fds[1], *owner)
            during = "pipe"
        if own_stdin:
            fds += os.pipe()
    except OSError as error:
        _close(fds)
        raise SpawnRefusedError(error.errno or 0, during) from error
    output, output_end, *input_ends = fds
    if not input_ends:
        return _Ends(stdin=stdin, output=output_end, made=[output_end], kept=[output])
    reads, writes = input_ends
    return _Ends(stdin=reads, output=output_end, made=[output_end, reads], kept=[output, writes])


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _child(
    argv: list[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    stdin: int,
    output: int,
    takes_terminal: bool,
    report: int,
    limits: Limits,
    groups: Sequence[str],
    keeper: int,
    features: Features,
    inside: Inside,
) -> NoReturn:
    during = "setsid"
    number = errno.EIO
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for each in _TO_RESET:
            signal.signal(each, signal.SIG_DFL)  # Python ignores SIGPIPE, the keeper catches more; exec keeps "ignored"
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        during = "cgroup"
        for group in groups:
            enter(group)
        if _SHIELDED:
            during = "oom_score_adj"
            _be_nobody_special()
        during = "descriptors"
        held = [fd if fd >= 0 else report for fd in (inside.filter, inside.ruleset)]
        report, call_filter, ruleset, *files = _above(_FIRST_FILE + len(inside.files), [report, *held, *inside.files])
        during = "mount"
        if inside.shown_as is not None:
            show_as(*inside.shown_as, inside.mapping)
        during = "setrlimit"
        limits.apply()
        if inside.processes is not None:
            limit_processes(inside.processes)
        if inside.watches or inside.as_owner:
            os.umask(_DYNOS_UMASK)
        if takes_terminal:
            during = "controlling terminal"
            fcntl.ioctl(stdin, termios.TIOCSCTTY, 0)
        during = "redirect"
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for place, fd in enumerate(files, start=_FIRST_FILE):
            os.dup2(fd, place)
        during = "chdir"
        os.chdir(cwd)
        if inside.as_owner and inside.owner is not None:
            during = "user"
            become(*inside.owner)
        if inside.ruleset >= 0:
            during = "landlock"
            gain_nothing()
            restrict(ruleset)
        if inside.filter >= 0:
            during = "seccomp"
            put_on(call_filter)
        during = "exec"
        if features.pdeathsig:
            end_with_parent(signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(137)  # the keeper died before the kernel was told to watch it
        drop_ambient_capabilities()
        _exec(argv, env)
    except OSError as error:
        number = error.errno or number
    except ValueError:
        number = errno.EINVAL  # a NUL in an argument or a variable
    finally:
        os.write(report, _REPORT.format(number, during).encode("ascii"))
        os._exit(127)


def _be_nobody_special() -> None:
    with open(_OOM_SCORE, "w", encoding="ascii") as file:  # noqa: PTH123 (as above)
        file.write("0")


def _above(least: int, fds: list[int]) -> list[int]:
    """The same, by numbers that nothing has to be moved to."""
    return fds if len(set(fds)) == 1 else [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least) for fd in fds]


def _exec(argv: list[str], env: Mapping[str, str]) -> NoReturn:
    """As execvp(3): along the dyno's PATH, a program that may not be executed does not hide a later one that may.

    A script without #! is run by the shell, where `os.execvpe` would go on along PATH. Raises OSError, ValueError.
    """
    name = argv[0]
    refused: OSError | None = None
    for path in [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in os.get_exec_path(env)]:
        try:
            os.execve(path, argv, env)  # noqa: S606 (no shell is the point)
        except (FileNotFoundError, NotADirectoryError) as error:
            refused = refused or error
        except PermissionError as error:
            refused = error
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            os.execve("/bin/sh", ["/bin/sh", path, *argv[1:]], env)  # noqa: S606 (as execvp)
    raise refused or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
