"""What a push is for: decided by the lines that git hands to the hook."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.git_push import Plan, plan_of

A, B, NONE = "a" * 40, "b" * 40, "0" * 40


@pytest.mark.parametrize(
    ("lines", "commit"),
    [
        ([], None),
        ([f"{NONE} {A} refs/heads/main"], A),
        ([f"{B} {A} refs/heads/master"], A),
        ([f"{NONE} {'c' * 64} refs/heads/main"], "c" * 64),
        ([f"{NONE} {A} refs/heads/main", f"{NONE} {A} refs/heads/master"], A),
        ([f"{NONE} {A} refs/heads/main", f"{NONE} {B} refs/heads/topic", f"{NONE} {B} refs/tags/v1"], A),
        ([f"{NONE} {A} refs/tags/main"], None),
        ([f"{A} {NONE} refs/heads/topic"], None),
        ([f"{NONE} {A} refs/heads/main2"], None),
    ],
)
def test_main_and_master_are_built(lines: list[str], commit: str | None) -> None:
    plan = plan_of(lines)
    assert (plan.commit, plan.refused) == (commit, None)


def test_another_branch_is_taken_in_and_that_is_said() -> None:
    assert plan_of([f"{NONE} {A} refs/heads/topic"]) == Plan(
        said=("Pushed to non-main branch, skipping build.", "To build it: git push dynod topic:main")
    )
    assert plan_of([f"{A} {NONE} refs/heads/topic"]) == Plan()


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([f"{A} {NONE} refs/heads/main"], "cannot be deleted"),
        ([f"{NONE} {A} refs/heads/main", f"{NONE} {B} refs/heads/master"], "not both"),
        (["x"], "no push that git makes"),
        ([f"{A} --output=/etc/x refs/heads/main"], "no push that git makes"),
    ],
)
def test_a_push_that_is_refused_builds_nothing(lines: list[str], why: str) -> None:
    plan = plan_of(lines)
    assert plan.commit is None
    assert why in (plan.refused or "")


@given(st.lists(st.text()))
def test_only_a_commit_ever_gets_to_git(lines: list[str]) -> None:
    commit = plan_of(lines).commit
    assert commit is None or set(commit) <= set("0123456789abcdef")
