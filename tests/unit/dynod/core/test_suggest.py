"""What is said of a name that is not known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.suggest import did_you_mean, dyno_not_found, not_found, release_not_found, there_are

DYNOS = ["web.1", "web.2", "worker.1", "run.4217"]


@pytest.mark.parametrize(
    ("typed", "known", "said"),
    [
        ("wroker", ["web", "worker"], '; did you mean "worker"?'),
        ("WEB", ["web", "worker"], '; did you mean "web"?'),
        ("database_url", ["DATABASE_URL"], '; did you mean "DATABASE_URL"?'),
        ("db", ["web", "worker"], ""),
        ("", ["web"], ""),
        ("web", [], ""),
    ],
)
def test_the_nearest_is_named_where_one_is_near(typed: str, known: list[str], said: str) -> None:
    assert did_you_mean(typed, known) == said


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (not_found("feature", "prebot", ["preboot"]), 'Couldn\'t find that feature (prebot); did you mean "preboot"?'),
        (not_found("folder", "x", []), "Couldn't find that folder (x)."),
        (not_found("folder", "x", ["uploads"]), "Couldn't find that folder (x); there is uploads"),
        (not_found("folder", "x\n\x1b", ["a1", "b1"]), "Couldn't find that folder (x??); there are a1, b1"),
        (
            not_found("log drain", "https://me:secret@x", ["a"], repeated=False),
            "Couldn't find that log drain; there is a",
        ),
        (dyno_not_found("web.9", DYNOS), "Couldn't find that dyno (web.9); there are web.1, web.2"),
        (dyno_not_found("wbe.1", DYNOS), 'Couldn\'t find that dyno (wbe.1); did you mean "web.1"?'),
        (dyno_not_found("run.1", ["web.1"]), "Couldn't find that dyno (run.1); there is web.1"),
        (dyno_not_found("web.1", []), "Couldn't find that dyno (web.1)."),
        (release_not_found("v99", 7), "Couldn't find that release (v99); the newest is v7"),
        (release_not_found("v1", None), "Couldn't find that release (v1)."),
        (there_are([f"web.{n}" for n in range(1, 9)]), "; there are web.1, web.2, web.3, web.4, web.5 and 3 more"),
    ],
)
def test_it_says_what_there_is(said: str, expected: str) -> None:
    assert said == expected


@given(st.text(), st.lists(st.text(max_size=20), max_size=20))
def test_whatever_is_typed_is_one_short_line(typed: str, known: list[str]) -> None:
    assert not_found("dyno", typed, []).isprintable()
    assert len(not_found("dyno", typed, [])) < 150
    hint = did_you_mean(typed, known)
    assert not hint or any(f'"{name}"' in hint for name in known)
