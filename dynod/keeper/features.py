"""Which of the operating system's abilities are used: Linux's where they are, POSIX's everywhere.

`DYNOD_WITHOUT=subreaper,proc` switches abilities off, so that the fallbacks of other systems are tested on Linux.
"""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Mapping
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITIES = 64  # no kernel has more
_CAPABILITY_VERSION_3 = struct.pack("=Ii", 0x20080522, 0)  # capset(2): of this process
_NO_CAPABILITIES = bytes(2 * 3 * 4)
_TO_CHANGE_USERS = 1 << 0 | 1 << 5 | 1 << 6 | 1 << 7  # CAP_CHOWN, CAP_KILL, CAP_SETGID, CAP_SETUID: capabilities(7)

NAMES = ("subreaper", "pdeathsig", "proc", "waitid", "tee", "epoll", "netlink", "cgroup")
WITHOUT = "DYNOD_WITHOUT"


class Features(NamedTuple):
    """What may be used."""

    subreaper: bool  # orphans of dynos become the keeper's children
    pdeathsig: bool  # the kernel ends a dyno's main process when the keeper dies
    proc: bool  # /proc lists processes with parent, group, session and environment
    waitid: bool  # a status can be looked at without taking it
    tee: bool  # a pipe can be read without being emptied
    epoll: bool  # descriptors can be watched edge-triggered
    netlink: bool  # listening sockets can be asked of the kernel
    cgroup: bool  # processes can be held together by control groups, where this user may make them


def detect(environ: Mapping[str, str]) -> Features:
    """What this machine has, less what `DYNOD_WITHOUT` names. Unknown names are refused by SystemExit."""
    without = {name for name in environ.get(WITHOUT, "").split(",") if name}
    if unknown := without.difference(NAMES):
        raise SystemExit(f"dynod: {WITHOUT} names {', '.join(sorted(unknown))}; known are {', '.join(NAMES)}")
    linux = sys.platform == "linux"
    return Features(
        subreaper=linux and "subreaper" not in without,
        pdeathsig=linux and "pdeathsig" not in without,
        proc=os.path.exists("/proc/self/stat") and "proc" not in without,  # noqa: PTH110 (pathlib is heavy here)
        waitid=hasattr(os, "waitid") and "waitid" not in without,
        tee=linux and "tee" not in without,
        epoll=linux and "epoll" not in without,
        netlink=linux and "netlink" not in without,
        cgroup=linux and "cgroup" not in without,
    )


def become_subreaper() -> None:
    """Orphans among this process's descendants become its children from now on. Raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(signal: int) -> None:
    """Have the kernel send `signal` to this process when the thread that forked it ends. Raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def drop_ambient_capabilities() -> None:
    """What a service manager gave dynod beyond its user's rights does not pass to the next program that is executed."""
    if sys.platform == "linux":
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)  # refused only where there are none


def may_change_users() -> bool:
    """Whether what dynod starts can be other users', with files of theirs: root may, and whoever was given the rights.

    Not whether a user of some number is there to be had: inside of other containers few are.
    """
    if sys.platform != "linux":
        return os.geteuid() == 0
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123 (pathlib is heavy here)
        held = next((int(line.split()[1], 16) for line in file if line.startswith("CapEff:")), 0)
    return held & _TO_CHANGE_USERS == _TO_CHANGE_USERS


def become(uid: int, gid: int) -> None:
    """Another user from now on, with that one's rights alone, and no program executed later gives more. Raises OSError.

    Before `end_with_parent`: a change of user takes that back (prctl(2)).
    """
    if sys.platform == "linux":
        for capability in range(_CAPABILITIES):
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused to a service, whose programs gain none either
    os.setgroups([])
    os.setgid(gid)  # all three of them, for whoever may
    os.setuid(uid)
    gain_nothing()
    if sys.platform == "linux":  # those to be inherited stay over a change of user
        _libc.capset(_CAPABILITY_VERSION_3, _NO_CAPABILITIES)


def gain_nothing() -> None:
    """No program that is executed from now on gives more rights than this process has. Raises OSError."""
    if sys.platform == "linux":
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def give_back_memory() -> None:
    """Return to the system what was freed (malloc_trim(3)), where the C library can: glibc keeps what lies below.

    Of the keeper's RSS after its imports that is 1.2 MB of 14.7 (wheel, Python 3.11, glibc 2.36).
    """
    with contextlib.suppress(AttributeError):
        _libc.malloc_trim(0)


_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
