"""Starting a process the way a dyno needs it: own session, own limits, one pipe for stdout and stderr, nothing else.

Own fork and exec, because `posix_spawn` can set neither working folder, limits nor a parent-death signal.
The keeper is single-threaded, which is what makes a fork without an immediate exec safe.
"""

import errno
import os
import resource
import signal
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from dynod.keeper.cgroups import enter
from dynod.keeper.features import Features, end_with_parent

_REPORT = "{} {}"


class Started(NamedTuple):
    """A running process and the read end of what it writes."""

    pid: int
    output: int


class SpawnRefusedError(Exception):
    """The operating system refused; `during` names the step."""

    def __init__(self, number: int, during: str) -> None:
        super().__init__(f"{during}: {os.strerror(number)}")
        self.errno = number
        self.during = during


def spawn(
    argv: list[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    stdin: int,
    nofile: tuple[int, int],
    group: str | None,
    features: Features,
) -> Started:
    """Fork and exec, in the control group whose folder `group` is.

    Returns once the exec has succeeded; raises SpawnRefusedError with the failing step.
    """
    keeper = os.getpid()
    output, output_end, report, report_end = _two_pipes()
    # Blocked over the fork: a signal that met the child before it has handlers of its own would be written to the
    # keeper's wake-up pipe a second time.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for fd in (output, output_end, report, report_end):
            os.close(fd)
        raise SpawnRefusedError(error.errno or 0, "fork") from error
    if pid == 0:
        _child(
            argv,
            env=env,
            cwd=cwd,
            stdin=stdin,
            output=output_end,
            report=report_end,
            nofile=nofile,
            group=group,
            keeper=keeper,
            features=features,
        )
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(output_end)
    os.close(report_end)
    with os.fdopen(report, "r", encoding="ascii") as file:
        refusal = file.read()  # ends with the exec, which closes the other end
    if refusal:
        os.waitpid(pid, 0)
        os.close(output)
        number, during = refusal.split(" ", 1)
        raise SpawnRefusedError(int(number), during)
    return Started(pid, output)


def _two_pipes() -> tuple[int, int, int, int]:
    fds: list[int] = []
    try:
        fds += os.pipe()
        fds += os.pipe()
    except OSError as error:
        for fd in fds:
            os.close(fd)
        raise SpawnRefusedError(error.errno or 0, "pipe") from error
    output, output_end, report, report_end = fds
    return output, output_end, report, report_end


def _child(
    argv: list[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    stdin: int,
    output: int,
    report: int,
    nofile: tuple[int, int],
    group: str | None,
    keeper: int,
    features: Features,
) -> NoReturn:
    during = "setsid"
    number = errno.EIO
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(each, signal.SIG_DFL)  # Python ignores SIGPIPE, the keeper catches more; exec keeps "ignored"
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if group is not None:
            during = "cgroup"
            enter(group)
        during = "setrlimit"
        resource.setrlimit(resource.RLIMIT_NOFILE, nofile)
        during = "redirect"
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        during = "chdir"
        os.chdir(cwd)
        during = "exec"
        if features.pdeathsig:
            end_with_parent(signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(137)  # the keeper died before the kernel was told to watch it
        _exec(argv, env)
    except OSError as error:
        number = error.errno or number
    except ValueError:
        number = errno.EINVAL  # a NUL in an argument or a variable
    finally:
        os.write(report, _REPORT.format(number, during).encode("ascii"))
        os._exit(127)


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
