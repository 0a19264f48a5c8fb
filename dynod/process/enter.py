"""A program: runs a command in the container of a dyno that runs, held to what that dyno itself is held to.

    PYTHON -I -S enter.py PID FILTER RULES WHO COMMAND …

PID is the machine's number of the first process in the container; FILTER the descriptor of a program for seccomp(2),
RULES of a Landlock ruleset, or `-`. WHO: `self`, whoever this is; `root`: of the container's namespace of users, who
becomes another user after that.
nsenter(1) can do but half of it: the filter has to be there before the command, and forbids to enter namespaces.

Flow: containers' `enter` → keeper → **this** → command. A process of its own, of which nothing needs to be seen inside:
the standard library alone. It stays for as long as the command does, which is its child, since only a child can be in
another process namespace; and it ends as that has ended.
"""

import ctypes
import fcntl
import os
import signal
import sys
from typing import Final, NoReturn

# linux/sched.h. That of files is entered last, as the others are looked up in /proc.
NAMESPACES: Final = {"ipc": 0x08000000, "uts": 0x04000000, "pid": 0x20000000, "mnt": 0x00020000}
USERS: Final = 0x10000000
OWNER_OF_NAMESPACE: Final = 0xB701  # NS_GET_USERNS, ioctl_ns(2)
PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h
PR_SET_SECCOMP: Final = 22
PR_CAPBSET_DROP: Final = 24
SECCOMP_MODE_FILTER: Final = 2
CAPABILITIES: Final = 64  # no kernel has more
INSTRUCTION_BYTES: Final = 8  # struct sock_filter
RESTRICT_SELF: Final = 446  # landlock_restrict_self(2), one number on every architecture
LONGEST_FILTER: Final = 4096 * INSTRUCTION_BYTES  # BPF_MAXINSNS

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main(arguments: list[str]) -> int:
    """Returns the status that the command ended with; ends by the same signal where it was one."""
    pid, filter_fd, rules_fd, who, *command = arguments
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python's own, of which the command would inherit those that are ignored
    program = b""
    if filter_fd != "-":
        program = os.read(int(filter_fd), LONGEST_FILTER)
        os.close(int(filter_fd))
    rules = None if rules_fd == "-" else int(rules_fd)
    powerful = _enter(pid)
    child = os.fork()
    if child == 0:
        _become(command, program, rules, root=who == "root", powerful=powerful)
    if rules is not None:
        os.close(rules)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        os.kill(os.getpid(), -status)
    return status


def _enter(pid: str) -> bool:
    """All namespaces of that process; whether one of users is among them, which gives every power in it.

    Raises OSError.
    """
    here = f"/proc/{pid}/ns"
    found = {name: os.open(f"{here}/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in (*NAMESPACES, "user")}
    own = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    # Whoever may make namespaces of users has made more than one: the powers to enter the others are in their owner's.
    owner = fcntl.ioctl(found["mnt"], OWNER_OF_NAMESPACE)
    if not os.path.sameopenfile(owner, own):
        _check(_libc.setns(owner, USERS))
    for name, kind in NAMESPACES.items():
        _check(_libc.setns(found[name], kind))
    if os.path.sameopenfile(found["user"], own):
        return False
    if not os.path.sameopenfile(found["user"], owner):
        _check(_libc.setns(found["user"], USERS))
    return True


def _become(command: list[str], program: bytes, rules: int | None, *, root: bool, powerful: bool) -> NoReturn:
    try:
        _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        if root:
            os.setgroups(())
            os.setgid(0)
            os.setuid(0)
        elif powerful:  # else the command gives its powers up itself, once it has become its user by them
            for capability in range(CAPABILITIES):
                _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        if rules is not None:  # not before: whoever is held to one looks into nobody else's namespaces
            _check(_libc.syscall(RESTRICT_SELF, ctypes.c_long(rules), ctypes.c_long(0)))
            os.close(rules)
        if program:
            filtering = _Program(len(program) // INSTRUCTION_BYTES, program)
            _check(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filtering), 0, 0))
        os.execv(command[0], command)  # noqa: S606 (no shell is the point)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _check(answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as error:
        sys.exit(f"the container cannot be entered: {error.strerror}")
