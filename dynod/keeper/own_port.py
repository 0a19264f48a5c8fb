"""Of the ports that dynos are given, the processes of a control group bind but their own: a program at bind(2).

Whoever binds another dyno's port before that one does, or in a moment in which it does not listen, would be sent its
requests. The program (BPF_PROG_TYPE_CGROUP_SOCK_ADDR, bpf(2), Linux 4.17) is a dozen instructions, made here for each
group and gone with it: one for IPv4, one for IPv6. Where the kernel lets it say why (Linux 5.18), the port is in use:
who looks for a free one goes on to the next. It takes version 2 and root, or CAP_BPF and CAP_NET_ADMIN. Standard
library only, as all of this folder.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Mapping

OWN = "port"  # of an instance's limits: its own, or 0; the others are the ends of the range that they are given from
FIRST = "ports_from"
LAST = "ports_to"

_BPF = {"x86_64": 321, "aarch64": 280}  # the system call's number
_LOAD, _ATTACH = 5, 8  # linux/bpf.h: BPF_PROG_LOAD, BPF_PROG_ATTACH
_CGROUP_SOCK_ADDR = 18
_AT_BIND = (8, 9)  # BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET6_BIND
_BESIDE_OTHERS = 2  # BPF_F_ALLOW_MULTI: what a service manager has put on the group stays
_ATTRIBUTES = 128  # bytes of union bpf_attr, as far as they are used here
# Instructions: linux/bpf_common.h, linux/bpf.h
_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_TO_HOSTS_ORDER = 0xDC  # BPF_ALU | BPF_END | BPF_TO_BE
_JUMP_UNLESS_EQUAL = 0x55  # BPF_JMP | BPF_JNE | BPF_K
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_LESS = 0xA5
_JUMP_IF_MORE = 0x25
_SET = 0xB7  # BPF_ALU64 | BPF_MOV | BPF_K
_CALL = 0x85  # BPF_JMP | BPF_CALL
_EXIT = 0x95
_PORT, _TYPE = 24, 32  # offsets in struct bpf_sock_addr
_STREAM = 1  # SOCK_STREAM: a port of UDP is nobody's

_SET_RETVAL = 187  # BPF_FUNC_set_retval

_libc = ctypes.CDLL(None, use_errno=True)


def guard(folder: str, limits: Mapping[str, int]) -> None:
    """Hold the group of this folder to it; nothing where `limits` say nothing of ports. Raises OSError."""
    if OWN not in limits:
        return
    group = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for place in _AT_BIND:
            try:
                program = _loaded(_program(limits[OWN], limits[FIRST], limits[LAST], _SAYS_WHY), place)
            except OSError:
                program = _loaded(_program(limits[OWN], limits[FIRST], limits[LAST], b""), place)
            try:
                _bpf(_ATTACH, struct.pack("=IIII", group, program, place, _BESIDE_OTHERS))
            finally:
                os.close(program)
    finally:
        os.close(group)


def _program(own: int, first: int, last: int, says_why: bytes) -> bytes:
    refuses = says_why + _instruction(_SET, value=0) + _instruction(_EXIT)
    left_out = len(refuses) // 8  # by which a port that is not refused is allowed
    return b"".join(
        [
            _instruction(_LOAD_WORD, to=2, of=1, offset=_PORT),
            _instruction(_TO_HOSTS_ORDER, to=2, value=16),
            _instruction(_LOAD_WORD, to=3, of=1, offset=_TYPE),
            _instruction(_JUMP_UNLESS_EQUAL, to=3, offset=3 + left_out, value=_STREAM),
            _instruction(_JUMP_IF_LESS, to=2, offset=2 + left_out, value=first),
            _instruction(_JUMP_IF_MORE, to=2, offset=1 + left_out, value=last),
            _instruction(_JUMP_IF_EQUAL, to=2, offset=left_out, value=own),
            refuses,
            _instruction(_SET, value=1),
            _instruction(_EXIT),
        ]
    )


def _instruction(code: int, *, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One struct bpf_insn: registers `to` and `of`, how many of the next to leave out or where to read, a number."""
    return struct.pack("=BBhi", code, to | of << 4, offset, value)


def _loaded(words: bytes, place: int) -> int:
    held = ctypes.create_string_buffer(words), ctypes.create_string_buffer(b"GPL")
    program, license_ = map(ctypes.addressof, held)
    count = len(words) // 8
    # The type, how many, where they are, the licence; no log, flags, name or device; where it is to be attached.
    return _bpf(
        _LOAD,
        struct.pack("=IIQQIIQII16sII", _CGROUP_SOCK_ADDR, count, program, license_, 0, 0, 0, 0, 0, b"", 0, place),
    )


def _bpf(command: int, attributes: bytes) -> int:
    number = _BPF.get(os.uname().machine) if sys.platform == "linux" and sys.byteorder == "little" else None
    if number is None:
        raise OSError(0, "the number of bpf(2) on this processor is not known")
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES)
    result = int(_libc.syscall(ctypes.c_long(number), ctypes.c_long(command), buffer, ctypes.c_long(_ATTRIBUTES)))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


_SAYS_WHY = _instruction(_SET, to=1, value=-errno.EADDRINUSE) + _instruction(_CALL, value=_SET_RETVAL)
