"""Names of apps: Heroku's rule."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.app_name import app_name_fault


@pytest.mark.parametrize("name", ["abc", "my-app", "a-1", "a--b", "a" * 30, "x0y"])
def test_a_name_is_accepted(name: str) -> None:
    assert app_name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "expected 3 to 30 characters, found 0"),
        ("ab", "expected 3 to 30 characters, found 2"),
        ("a" * 31, "expected 3 to 30 characters, found 31"),
        *(
            (name, "expected lower-case letters, digits and dashes, a letter first, a letter or digit last")
            for name in ("Abc", "1ab", "-ab", "ab-", "a_b", "a.b", "a b", "abc\n", "äbc", "ab٣", "a/../b")
        ),
    ],
)
def test_a_name_is_refused_in_words(name: str, fault: str) -> None:
    assert app_name_fault(name) == fault


@given(st.text(alphabet="abz019-AZ_.\n", max_size=35))
def test_the_rule_is_herokus(name: str) -> None:
    assert (app_name_fault(name) is None) == bool(re.fullmatch(r"[a-z][a-z0-9-]{1,28}[a-z0-9]", name))
