"""Which system calls a process may make: a program for seccomp(2), put on by the keeper's child before its exec.

What the program refuses is decided in the core (`core/seccomp`). In containers bubblewrap puts it on. Standard library
only, as all of this folder.
"""

import ctypes
import os

_PR_SET_SECCOMP = 22  # linux/prctl.h
_SECCOMP_MODE_FILTER = 2
_INSTRUCTION_BYTES = 8  # struct sock_filter
_LONGEST = 4096 * _INSTRUCTION_BYTES  # BPF_MAXINSNS

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def put_on(program: int) -> None:
    """Hold this process, and all that it starts, to the program in that file. It must not be able to gain rights.

    Raises OSError.
    """
    words = os.pread(program, _LONGEST, 0)
    filtering = _Program(len(words) // _INSTRUCTION_BYTES, words)
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filtering), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
