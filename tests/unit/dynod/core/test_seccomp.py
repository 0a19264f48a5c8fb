"""The filter of system calls, run by a small interpreter of the instructions that it has."""

import errno
import struct

import pytest

from dynod.core.seccomp import DENIED, filter_program

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NEW_USER = 0x10000000
ALLOWED = {
    "x86_64": {"read": 0, "execve": 59, "ptrace": 101, "fork": 57, "openat": 257, "memfd_create": 319, "socket": 41},
    "aarch64": {"read": 63, "execve": 221, "ptrace": 117, "openat": 56, "memfd_create": 279, "socket": 198},
}


def judge(machine: str, number: int, argument: int = 0, architecture: int | None = None) -> int:
    """0: allowed, else the errno that the call gets (linux/filter.h, linux/seccomp.h)."""
    program = filter_program(machine)
    assert program is not None
    of = ARCHITECTURES[machine] if architecture is None else architecture
    data = struct.pack("<IIQ6Q", number, of, 0, argument, *[0] * 5)
    at = accumulator = 0
    while True:
        code, met, unmet, value = struct.unpack_from("<HBBI", program, at * 8)
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, value)[0]
            case 0x15:
                at += met if accumulator == value else unmet
            case 0x35:
                at += met if accumulator >= value else unmet
            case 0x45:
                at += met if accumulator & value else unmet
            case 0x06:
                assert value == 0x7FFF0000 or value >> 16 == 5
                return 0 if value == 0x7FFF0000 else value & 0xFFFF
            case other:
                raise AssertionError(other)


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("name", DENIED)
def test_what_is_denied_is_refused(machine: str, name: str) -> None:
    denied = DENIED[name]
    number = denied.x86_64 if machine == "x86_64" else denied.aarch64
    if number is None:
        return
    assert judge(machine, number, denied.only_with or denied.only_for) == denied.answer
    if denied.only_for:
        assert judge(machine, number, denied.only_for - 1) == 0
    if denied.only_with:
        assert judge(machine, number, 0x11 | 0x0F00) == 0  # SIGCHLD and sharing flags: fork(3), pthread_create(3)


@pytest.mark.parametrize(("machine", "name"), [(machine, name) for machine, calls in ALLOWED.items() for name in calls])
def test_what_apps_need_is_allowed(machine: str, name: str) -> None:
    assert judge(machine, ALLOWED[machine][name]) == 0
    assert judge(machine, ALLOWED[machine][name], NEW_USER) == 0


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_numbers_of_another_architecture_are_refused(machine: str) -> None:
    assert judge(machine, 1, architecture=0x40000003) == errno.EPERM  # AUDIT_ARCH_I386
    if machine == "x86_64":
        assert judge(machine, 0x40000000 + 1) == errno.EPERM


def test_a_machine_that_is_not_known_has_no_filter() -> None:
    assert filter_program("riscv64") is None


def test_no_number_is_said_twice() -> None:
    for numbers in ([each.x86_64 for each in DENIED.values()], [each.aarch64 for each in DENIED.values()]):
        known = [number for number in numbers if number is not None]
        assert len(known) == len(set(known))
