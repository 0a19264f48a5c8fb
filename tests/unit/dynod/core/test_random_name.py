"""Made up names are names of apps, whatever chance says."""

from itertools import islice
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.app_name import app_name_fault
from dynod.core.random_name import NUMBERS, QUALITIES, THINGS, random_app_names


@given(st.integers())
def test_made_up_names_are_names_of_apps(seed: int) -> None:
    for name in islice(random_app_names(Random(seed).randrange), 20):
        assert app_name_fault(name) is None


def test_every_pair_of_words_fits_with_the_largest_number() -> None:
    longest = max(QUALITIES.split(), key=len), max(THINGS.split(), key=len)
    assert app_name_fault(f"{longest[0]}-{longest[1]}-{NUMBERS - 1}") is None
    assert all(len(set(words.split())) == len(words.split()) for words in (QUALITIES, THINGS))


def test_names_do_not_repeat_themselves() -> None:
    assert len(set(islice(random_app_names(Random(1).randrange), 200))) == 200
