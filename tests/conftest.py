"""What holds for every test: it starts from a clean environment, and the seeds of a run are printed."""

import os

import pytest
from hypothesis import settings

# One deadline for the whole test (pytest-timeout) and none for an example: two cores shared by a suite say nothing
# about an example's speed. In CI the examples are the same in each run, so that a failure there can be repeated.
settings.register_profile("dynod", deadline=None, print_blob=True)
settings.register_profile("ci", settings.get_profile("dynod"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dynod")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No DYNOD_* setting, PORT or colour wish of the caller reaches a test."""
    for name in list(os.environ):
        if name.startswith("DYNOD_") or name in {"PORT", "DYNO", "NO_COLOR", "FORCE_COLOR"}:
            monkeypatch.delenv(name)
