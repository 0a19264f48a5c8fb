"""Faults drawn from a seed, against a whole `dynod serve` under load: nothing is lost that is not accounted for."""

import random
from pathlib import Path

import pytest

from loadtests.chaos import Chaos
from support.counts import rounds
from support.small_disk import may_mount

SECONDS = rounds(10, full=1800)
PAUSE_S = rounds(1, full=4)
pytestmark = pytest.mark.timeout(rounds(300, full=2400))


def test_a_run_of_faults_loses_nothing_that_is_not_accounted_for(tmp_path: Path) -> None:
    may_mount()
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"again with: make chaos CHAOS_ARGS='--seed {seed} --seconds {SECONDS} --pause {PAUSE_S}'")
    with Chaos(tmp_path, seed) as chaos:
        outcome = chaos.run(SECONDS, PAUSE_S)
    print(outcome)
    assert outcome.faults.total() > 0
    assert outcome.requests["ok"] > 0
    assert outcome.written > 0
    assert outcome.broken() == []
