"""A short run of head_fuzz.py; the seed is printed, and a failure names it and the head."""

import random

from unit.router import head_fuzz

from support.counts import rounds


def test_no_mutated_message_goes_on_that_another_parser_reads_differently() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    passed = head_fuzz.run(rounds(4000, full=1_000_000), seed)
    assert passed.requests > 100, "the mutations leave too little that is valid"
    assert passed.answers > 100
    assert passed.bodies > 100
