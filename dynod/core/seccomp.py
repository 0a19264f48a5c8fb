"""The system calls that a dyno may not make, as a program for the kernel's filter (seccomp(2), BPF). Pure.

A deny list, because apps are anything: what an unprivileged process has no business with and where kernels have had
their holes. Most of it the kernel refuses without capabilities too; this is the second lock. Debuggers work: ptrace(2)
reaches nobody outside the dyno's own process namespace. Compare Docker's default profile, an allow list to much the
same end.

Numbers: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h (aarch64).
"""

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# linux/bpf_common.h, linux/seccomp.h
_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_IF_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_NUMBER: Final = 0  # offsets in struct seccomp_data, little endian
_ARCHITECTURE: Final = 4
_FIRST_ARGUMENT: Final = 16
_X32: Final = 0x40000000  # from here on x86_64's numbers are another ABI's, with other gates to the same calls
_NEW_USER_NAMESPACE: Final = (
    0x10000000  # CLONE_NEWUSER: capabilities inside, and with them the kernel's seldom used code
)
_AF_VSOCK: Final = 40  # linux/socket.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A system call by its numbers; None: the architecture does not have it. `answer`: the errno that it gives.

    `only_with`: refused where the first argument has one of these bits, `only_for`: where it is this; allowed else.
    """

    x86_64: int | None
    aarch64: int | None
    answer: int = errno.EPERM
    only_with: int = 0
    only_for: int = 0


# Calls since Linux 5 have one number everywhere.
DENIED: Final[Mapping[str, Denied]] = {
    # kernel keyrings are not namespaced
    "add_key": Denied(x86_64=248, aarch64=217),
    "request_key": Denied(x86_64=249, aarch64=218),
    "keyctl": Denied(x86_64=250, aarch64=219),
    # the kernel itself
    "create_module": Denied(x86_64=174, aarch64=None),
    "init_module": Denied(x86_64=175, aarch64=105),
    "finit_module": Denied(x86_64=313, aarch64=273),
    "delete_module": Denied(x86_64=176, aarch64=106),
    "kexec_load": Denied(x86_64=246, aarch64=104),
    "kexec_file_load": Denied(x86_64=320, aarch64=294),
    "reboot": Denied(x86_64=169, aarch64=142),
    "bpf": Denied(x86_64=321, aarch64=280),
    "perf_event_open": Denied(x86_64=298, aarch64=241),
    "syslog": Denied(x86_64=103, aarch64=116),
    "userfaultfd": Denied(x86_64=323, aarch64=282),
    "iopl": Denied(x86_64=172, aarch64=None),
    "ioperm": Denied(x86_64=173, aarch64=None),
    "lookup_dcookie": Denied(x86_64=212, aarch64=18),
    # mounts and namespaces
    "mount": Denied(x86_64=165, aarch64=40),
    "umount2": Denied(x86_64=166, aarch64=39),
    "pivot_root": Denied(x86_64=155, aarch64=41),
    "open_tree": Denied(x86_64=428, aarch64=428),
    "move_mount": Denied(x86_64=429, aarch64=429),
    "fsopen": Denied(x86_64=430, aarch64=430),
    "fsconfig": Denied(x86_64=431, aarch64=431),
    "fsmount": Denied(x86_64=432, aarch64=432),
    "fspick": Denied(x86_64=433, aarch64=433),
    "mount_setattr": Denied(x86_64=442, aarch64=442),
    "open_tree_attr": Denied(x86_64=467, aarch64=467),
    "setns": Denied(x86_64=308, aarch64=268),
    "unshare": Denied(x86_64=272, aarch64=97, only_with=_NEW_USER_NAMESPACE),
    "clone": Denied(x86_64=56, aarch64=220, only_with=_NEW_USER_NAMESPACE),
    # its flags lie in memory, where no filter sees them: C libraries go on with clone
    "clone3": Denied(x86_64=435, aarch64=435, answer=errno.ENOSYS),
    # the machine's clocks, disks and accounts
    "settimeofday": Denied(x86_64=164, aarch64=170),
    "clock_settime": Denied(x86_64=227, aarch64=112),
    "clock_adjtime": Denied(x86_64=305, aarch64=266),
    "swapon": Denied(x86_64=167, aarch64=224),
    "swapoff": Denied(x86_64=168, aarch64=225),
    "acct": Denied(x86_64=163, aarch64=89),
    "quotactl": Denied(x86_64=179, aarch64=60),
    "quotactl_fd": Denied(x86_64=443, aarch64=443),
    "vhangup": Denied(x86_64=153, aarch64=58),
    # past the file names that a dyno can see
    "open_by_handle_at": Denied(x86_64=304, aarch64=265),
    "fanotify_init": Denied(x86_64=300, aarch64=262),
    # to the machine that this one is a guest of: such sockets belong to no namespace
    "socket": Denied(x86_64=41, aarch64=198, answer=errno.EAFNOSUPPORT, only_for=_AF_VSOCK),
    # a queue of work to the kernel that no filter looks at; libuv and the others go on without
    "io_uring_setup": Denied(x86_64=425, aarch64=425, answer=errno.ENOSYS),
    "io_uring_enter": Denied(x86_64=426, aarch64=426, answer=errno.ENOSYS),
    "io_uring_register": Denied(x86_64=427, aarch64=427, answer=errno.ENOSYS),
}

_AUDIT: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h


def filter_program(machine: str) -> bytes | None:
    """The program for this machine, as `uname -m` names it: an array of struct sock_filter. None: not known here."""
    if machine not in _AUDIT:
        return None
    program = [
        _op(_LOAD_WORD, _ARCHITECTURE),
        _op(_JUMP_IF_EQUAL, _AUDIT[machine], met=1),
        _refuse(errno.EPERM),  # of 32-bit programs the numbers are others
        _op(_LOAD_WORD, _NUMBER),
    ]
    if machine == "x86_64":
        program += [_op(_JUMP_IF_AT_LEAST, _X32, unmet=1), _refuse(errno.EPERM)]
    for denied in DENIED.values():
        number = denied.x86_64 if machine == "x86_64" else denied.aarch64
        if number is None:
            continue
        if denied.only_with or denied.only_for:
            test = _JUMP_IF_ANY_BIT if denied.only_with else _JUMP_IF_EQUAL
            program += [
                _op(_JUMP_IF_EQUAL, number, unmet=4),
                _op(_LOAD_WORD, _FIRST_ARGUMENT),
                _op(test, denied.only_with or denied.only_for, unmet=1),
                _refuse(denied.answer),
                _op(_RETURN, _ALLOW),
            ]
        else:
            program += [_op(_JUMP_IF_EQUAL, number, unmet=1), _refuse(denied.answer)]
    return b"".join([*program, _op(_RETURN, _ALLOW)])


def _op(code: int, value: int, *, met: int = 0, unmet: int = 0) -> bytes:
    """One instruction; `met` and `unmet` are how many of the next to leave out."""
    return struct.pack("<HBBI", code, met, unmet, value)


def _refuse(number: int) -> bytes:
    return _op(_RETURN, _ERRNO | number)
