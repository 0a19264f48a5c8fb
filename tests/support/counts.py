"""How often a test that counts goes round: a few times in CI, as often as the issue asks in `make test-full`.

A test that kills, forks or fuzzes is the same test either way; only its number differs, so that none exists which CI
never runs. `make test-full` sets DYNOD_TEST_FULL=1.
"""

import os


def rounds(reduced: int, *, full: int) -> int:
    """Return `reduced` in an ordinary run, `full` where DYNOD_TEST_FULL is set; both count what the test repeats."""
    return full if os.environ.get("DYNOD_TEST_FULL") else reduced
