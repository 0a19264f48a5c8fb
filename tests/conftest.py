"""What holds for every test: a clean environment, the usual signals, and the seeds of a run are printed."""

import os
import signal

import pytest
from hypothesis import settings

from dynod.keeper.features import WITHOUT
from support import abilities, schedule

# One deadline for the whole test (pytest-timeout) and none for an example: two cores shared by a suite say nothing
# about an example's speed. In CI the examples are the same in each run, so that a failure there can be repeated.
settings.register_profile("dynod", deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("dynod"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dynod")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without",
        default="",
        metavar="ABILITIES",
        help="run every dynod without these of Linux's abilities (dynod/keeper/features.py), or without all",
    )


def pytest_configure(config: pytest.Config) -> None:
    abilities.switch_off(config.getoption("--without"))
    # A run that was begun by nohup, or in the background of a script, ignores these, and so would all that it starts.
    for number, usual in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGQUIT, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    same = abilities.same_tests(items)
    config.hook.pytest_deselected(items=same)
    items[:] = [item for item in items if item not in same]
    schedule.dear_first(items)
    for item in items:
        for reason in abilities.reasons_to_skip(item.iter_markers(abilities.MARK), os.environ):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> schedule.SharedTogether | None:
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # it goes by how many tests a file has
    return schedule.SharedTogether(config, log)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No DYNOD_* setting, PORT or colour wish of the caller reaches a test."""
    for name in list(os.environ):
        if name == WITHOUT:
            continue  # this run's, see abilities
        if name.startswith("DYNOD_") or name in {"PORT", "DYNO", "NO_COLOR", "FORCE_COLOR"}:
            monkeypatch.delenv(name)
