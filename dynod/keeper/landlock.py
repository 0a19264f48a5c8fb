"""Which files a process may open, and whom it reaches without any, whatever its user's rights: Landlock (landlock(7)).

The core makes a ruleset, the keeper's child puts it on between fork and exec, and nothing that comes from there gets
rid of it. Files from version 2 on (Linux 5.19): before that none could be moved from folder to folder. Sockets without
a file, which belong to no mount namespace, and signals from version 6 on (6.12). Standard library only.
"""

import contextlib
import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable

_CREATE_RULESET = 444  # one number on every architecture
_ADD_RULE = 445
_RESTRICT_SELF = 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_LEAST = 2
_LEAST_FOR_SCOPES = 6

# linux/landlock.h, LANDLOCK_ACCESS_FS_*
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << bit for bit in range(4))
_OF_VERSION_1 = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_SINCE = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEV}
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

# LANDLOCK_SCOPE_*: only those that are held to the same ruleset, or have been held to more since, are reached
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1

_libc = ctypes.CDLL(None, use_errno=True)


def is_there() -> bool:
    """Whether the kernel has it, and lets it be used."""
    return _version() >= _LEAST


def has_scopes() -> bool:
    """Whether abstract sockets and signals can be kept within."""
    return _version() >= _LEAST_FOR_SCOPES


def scope() -> int:
    """A descriptor: abstract sockets are reached within alone. It leaves files alone, and with them mounts.

    Needs `has_scopes`. Raises OSError.
    """
    return _made(0, _ABSTRACT_SOCKETS)


def ruleset(*, read: Iterable[str], written: Iterable[str], signals_within: bool = False) -> int:
    """A descriptor: files are read and executed below the ones of these paths, and everything below the others.

    Paths that are not there are left out. Where the kernel can, abstract sockets are reached within alone, as are
    signals if that is wanted. Raises OSError.
    """
    handled = _OF_VERSION_1
    for version, access in _SINCE.items():
        handled |= access if version <= _version() else 0
    made = _made(handled, (_ABSTRACT_SOCKETS | (_SIGNALS if signals_within else 0)) if has_scopes() else 0)
    try:
        for paths, access in ((read, _READING), (written, handled)):
            for path in paths:
                _allow(made, path, access & handled)
    except OSError:
        os.close(made)
        raise
    return made


def restrict(made: int) -> None:
    """Hold this process, and all that it starts, to it for good. It must not be able to gain rights. Raises OSError."""
    _call(_RESTRICT_SELF, made, 0)


def _made(files: int, scopes: int) -> int:
    """By struct landlock_ruleset_attr: files, network, scopes."""
    attributes = struct.pack("=QQQ", files, 0, scopes) if scopes else struct.pack("=Q", files)
    made = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    os.set_inheritable(made, False)
    return made


def _version() -> int:
    if sys.platform != "linux":
        return 0
    with contextlib.suppress(OSError):
        return _call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    return 0


def _allow(made: int, path: str, access: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            access &= _OF_A_FILE
        _call(_ADD_RULE, made, _PATH_BENEATH, struct.pack("=Qi", access, opened), 0)
    finally:
        os.close(opened)


def _call(number: int, *arguments: int | bytes | None) -> int:
    words = (ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    result = int(_libc.syscall(number, *words))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
