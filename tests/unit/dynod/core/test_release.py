"""What each verb makes the next release of."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.release import (
    Draft,
    Phase,
    Release,
    ReleaseRefusedError,
    ReleaseStatus,
    base_of,
    current_of,
    draft_code,
    draft_config,
    draft_rollback,
    rollback_target,
    without,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
S, F, P, X = ReleaseStatus.SUCCEEDED, ReleaseStatus.FAILED, ReleaseStatus.PENDING, ReleaseStatus.EXPIRED


def release(
    version: int, status: ReleaseStatus = S, plan: str | None = "plan", config: Mapping[str, str] | None = None
) -> Release:
    return Release(
        version=version,
        id=f"id-{version}",
        description="",
        user="me",
        status=status,
        slug_id=f"slug-{version}" if plan else None,
        plan=plan and f"{plan}-{version}",
        config=config or {},
        phase=Phase.NONE,
        failure=None,
        created_at=AT,
        updated_at=AT,
    )


@pytest.mark.parametrize(
    ("statuses", "base", "current"),
    [
        ([], None, None),
        ([S], 1, 1),
        ([S, P], 2, 1),
        ([S, P, P], 3, 1),
        ([S, F], 1, 1),
        ([S, P, F], 2, 1),
        ([X, S, F, F], 2, 2),
        ([P], 1, None),
    ],
)
def test_the_next_builds_on_the_newest_that_has_not_failed(
    statuses: list[ReleaseStatus], base: int | None, current: int | None
) -> None:
    releases = [release(number, status) for number, status in enumerate(statuses, 1)]
    for order in (releases, releases[::-1]):
        on, live = base_of(order), current_of(order)
        assert (on and on.version, live and live.version) == (base, current)


def test_a_change_of_config_keeps_the_code() -> None:
    on = release(3, config={"A": "1"})
    assert draft_config(on, {"B": "2"}, runs_command=True) == Draft(
        description="Set B config vars", plan="plan-3", slug_id="slug-3", config={"A": "1", "B": "2"}, runs_command=True
    )
    assert draft_config(on, {"A": "1", "C": None}, runs_command=True) is None
    assert draft_config(None, {"A": "1"}, runs_command=False) == Draft(
        description="Set A config vars", plan=None, config={"A": "1"}
    )


def test_new_code_keeps_the_config_and_brings_what_is_not_set() -> None:
    draft = draft_code(
        release(3, config={"A": "mine"}),
        plan="new",
        slug_id="s",
        description="Deploy abc",
        runs_command=False,
        first_config={"A": "theirs", "B": "2"},
    )
    assert (draft.plan, draft.config) == ("new", {"A": "mine", "B": "2"})


def test_a_rollback_takes_code_and_config_or_the_code_alone() -> None:
    old, now = release(3, config={"A": "old"}), release(7, config={"A": "new"})
    back = draft_rollback(now, old, runs_command=False)
    assert (back.description, back.plan, back.config) == ("Rollback to v3", "plan-3", {"A": "old"})
    code = draft_rollback(now, old, runs_command=False, code_only=True)
    assert (code.description, code.plan, code.config) == ("Rollback to v3 (code only)", "plan-3", {"A": "new"})


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (release(3, F), "it has failed"),
        (release(3, X), "its slug has been removed"),
        (release(3, P), "it is not live yet"),
        (release(3, plan=None), "it has no code"),
    ],
)
def test_what_cannot_be_gone_back_to_says_why(target: Release, why: str) -> None:
    with pytest.raises(ReleaseRefusedError, match=f"Cannot roll back to v3: {why}"):
        draft_rollback(release(4), target, runs_command=False)
    assert not target.eligible_for_rollback


def test_without_a_version_a_rollback_goes_to_the_second_newest_that_it_can() -> None:
    assert rollback_target([release(1, plan=None), release(2)]) is None
    found = rollback_target([release(5, F), release(4), release(3, X), release(2), release(1)])
    assert found is not None
    assert found.version == 2


CONFIG = st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from(["1", "2", "3"]))
CHANGES = st.dictionaries(st.sampled_from("ABCDE"), st.none() | st.sampled_from(["4", "5", "6"]), min_size=1)


@given(CONFIG, CHANGES, CHANGES)
def test_a_change_that_was_built_on_a_failed_one_keeps_its_own_and_nothing_of_that(
    config: dict[str, str], failing: dict[str, str | None], own: dict[str, str | None]
) -> None:
    before = release(3, config=config)
    bad = draft_config(before, failing, runs_command=False)
    failed = release(4, F, config=bad.config if bad is not None else config)
    good = draft_config(failed, own, runs_command=False)
    waiting = release(5, P, config=good.config if good is not None else failed.config)
    _plan, _slug, rebased = without(waiting, failed=failed, before=before)
    expected = {**config}
    for name in {*config, *failing, *own}:
        now, then = waiting.config.get(name), failed.config.get(name)
        if now != then and now is not None:
            expected[name] = now
        elif now != then:
            expected.pop(name, None)
    assert rebased == expected


def test_code_that_was_taken_over_from_a_failed_one_goes_with_it() -> None:
    before, failed = release(3), release(4, F)
    taken = replace(release(5, P), plan=failed.plan, slug_id=failed.slug_id)
    assert without(taken, failed=failed, before=before)[:2] == ("plan-3", "slug-3")
    own = release(5, P)
    assert without(own, failed=failed, before=before)[:2] == ("plan-5", "slug-5")
    assert without(taken, failed=failed, before=None)[:2] == (None, None)


def test_a_rollback_has_taken_over_nothing() -> None:
    back = replace(release(5, P, config={"A": "1"}), description="Rollback to v2")
    failed, before = release(4, F, config={"A": "1"}), release(3, config={"A": "0"})
    assert without(back, failed=failed, before=before) == ("plan-5", "slug-5", {"A": "1"})
    code_only = replace(back, description="Rollback to v2 (code only)")
    assert without(code_only, failed=failed, before=before)[2] == {"A": "0"}
