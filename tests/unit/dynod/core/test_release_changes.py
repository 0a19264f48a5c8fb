"""What a release has changed, by names; no value is in what is told."""

from dataclasses import asdict
from datetime import UTC, datetime

from dynod.core.release import Phase, Release, ReleaseStatus
from dynod.core.release_changes import NameChanges, changes_of, name_changes

SUCCEEDED, FAILED = ReleaseStatus.SUCCEEDED, ReleaseStatus.FAILED


def release(
    version: int, config: dict[str, str], *, slug: str | None = None, status: ReleaseStatus = SUCCEEDED
) -> Release:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Release(
        version=version,
        id=str(version),
        description="",
        user="alice",
        status=status,
        slug_id=slug,
        plan=None,
        config=config,
        phase=Phase.NONE,
        failure=None,
        created_at=now,
        updated_at=now,
    )


def test_names_that_came_went_and_mean_something_else() -> None:
    assert name_changes({"A": "1", "B": "1", "C": "1"}, {"B": "1", "C": "2", "D": "1"}) == NameChanges(
        added=("D",), removed=("A",), changed=("C",)
    )


def test_a_release_is_compared_with_what_it_was_built_on() -> None:
    """Which is no failed one: its values were not carried on."""
    known = [
        release(1, {}),
        release(2, {"A": "secret-1"}, slug="one"),
        release(3, {"A": "secret-2", "B": "secret-3"}, slug="two", status=FAILED),
        release(4, {"A": "secret-4"}, slug="one"),
    ]
    found = changes_of(known[3], known)
    assert (found.since, found.code, found.config) == (2, False, NameChanges(changed=("A",)))
    assert changes_of(known[2], known).code
    assert changes_of(known[0], known).since is None
    assert "secret" not in str([asdict(changes_of(each, known)) for each in known])
