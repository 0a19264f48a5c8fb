"""Whose fault a refused launch is, and how long it is tried again."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.launch import LAUNCH_TIMEOUT_S, R99, is_platform_fault, next_try_s, refused_status

APP = [
    (errno.ENOENT, "exec"),
    (errno.EACCES, "exec"),
    (errno.ENOEXEC, "exec"),
    (errno.E2BIG, "exec"),
    (errno.EINVAL, "exec"),
    (errno.ETXTBSY, "exec"),
    (errno.ENOENT, "chdir"),
    (errno.ENOTDIR, "chdir"),
    (errno.EACCES, "chdir"),
]
PLATFORM = [
    (errno.EAGAIN, "fork"),
    (errno.ENOMEM, "fork"),
    (errno.EMFILE, "pipe"),
    (errno.ENFILE, "pipe"),
    (errno.ENOSPC, "openpty"),
    (errno.EBUSY, "cgroup"),
    (errno.EPERM, "setrlimit"),
    (errno.EADDRINUSE, "port"),
    (errno.ETIMEDOUT, "launch"),
    (errno.ENOMEM, "exec"),
    (errno.ENFILE, "exec"),
    (errno.EIO, "exec"),
    (errno.ESTALE, "chdir"),
    (errno.EIO, "chdir"),
]


def test_the_line_is_herokus_own() -> None:
    assert R99 == "Error R99 (Platform error) -> Failed to launch the dyno within 10 seconds"


@pytest.mark.parametrize(("number", "during"), APP)
def test_words_of_the_app_that_are_wrong_are_its_own_fault_and_not_tried_again(number: int, during: str) -> None:
    assert not is_platform_fault(number, during)
    assert next_try_s(number, during, tries=1, elapsed_s=0.0) is None


@pytest.mark.parametrize(("number", "during"), PLATFORM)
def test_what_the_machine_lacks_is_the_platforms_fault_and_tried_again(number: int, during: str) -> None:
    assert is_platform_fault(number, during)
    assert next_try_s(number, during, tries=1, elapsed_s=0.0) == 0.5


@given(durations_s=st.lists(st.floats(0.0, 12.0), min_size=30, max_size=30))
def test_the_last_try_is_made_when_the_time_is_up_and_there_are_few(durations_s: list[float]) -> None:
    """However long each try itself takes."""
    now, tries = durations_s[0], 1
    began = []
    while (pause_s := next_try_s(errno.EAGAIN, "fork", tries=tries, elapsed_s=now)) is not None:
        assert pause_s > 0
        now += pause_s
        began.append(now)
        now += durations_s[tries]
        tries += 1
    assert all(each <= LAUNCH_TIMEOUT_S + 1e-9 for each in began)
    assert now >= LAUNCH_TIMEOUT_S - 1e-9
    assert tries <= 7


@pytest.mark.parametrize(
    ("number", "status"), [(errno.ENOENT, 127), (errno.ENOTDIR, 127), (errno.EACCES, 126), (errno.EAGAIN, 126)]
)
def test_a_refusal_has_the_status_of_a_shell(number: int, status: int) -> None:
    assert refused_status(number) == status
