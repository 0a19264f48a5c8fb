"""A short run of head_fuzz.py; the seed is printed, and a failure names it and the head."""

import random

from unit.router import head_fuzz


def test_no_mutated_head_goes_on_that_another_parser_reads_differently() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    requests, answers = head_fuzz.run(4000, seed)
    assert requests > 100, "the mutations leave too little that is valid"
    assert answers > 100
