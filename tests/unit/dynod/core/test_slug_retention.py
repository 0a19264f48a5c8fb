"""Which slugs of an app are kept."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.release import Phase, Release, ReleaseStatus
from dynod.core.slug_retention import SLUGS_KEPT, UNUSED_KEPT, SlugAge, slugs_to_remove

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OLD = NOW - 2 * UNUSED_KEPT
S, F, P = ReleaseStatus.SUCCEEDED, ReleaseStatus.FAILED, ReleaseStatus.PENDING


def release(version: int, slug: str | None, status: ReleaseStatus = S) -> Release:
    return Release(
        version=version,
        id=f"release-{version}",
        description="",
        user="me",
        status=status,
        slug_id=slug,
        plan=None,
        config={},
        phase=Phase.NONE,
        failure=None,
        created_at=OLD,
        updated_at=OLD,
    )


def removed(slugs: list[str], releases: list[Release], *, made: datetime = OLD) -> list[str]:
    return slugs_to_remove([SlugAge(slug, made) for slug in slugs], releases, now=NOW)


def test_the_newest_ten_that_were_live_are_kept() -> None:
    slugs = [f"s{number}" for number in range(14)]
    releases = [release(number + 3, slug) for number, slug in enumerate(slugs)]
    assert removed(slugs, releases) == ["s0", "s1", "s2", "s3"]


def test_a_rollback_makes_an_old_slug_a_needed_one() -> None:
    slugs = [f"s{number}" for number in range(12)]
    releases = [release(number + 3, slug) for number, slug in enumerate(slugs)] + [release(99, "s0")]
    assert removed(slugs, releases) == ["s1", "s2"]


def test_slugs_of_releases_that_failed_go_at_once_and_those_on_their_way_stay() -> None:
    releases = [release(3, "live"), release(4, "failed", F), release(5, "pending", P)]
    assert removed(["live", "failed", "pending"], releases) == ["failed"]


def test_a_slug_that_nothing_was_made_of_has_a_day() -> None:
    assert removed(["fresh"], [], made=NOW - UNUSED_KEPT) == []
    assert removed(["old"], [], made=NOW - UNUSED_KEPT - timedelta(seconds=1)) == ["old"]


STATUSES = st.sampled_from([S, F, P, ReleaseStatus.EXPIRED])


@given(st.lists(st.tuples(st.integers(0, 25), STATUSES), max_size=60))
def test_current_previous_and_pending_are_never_removed_and_ten_at_most_are_kept(
    made: list[tuple[int, ReleaseStatus]],
) -> None:
    releases = [release(version, f"s{slug}", status) for version, (slug, status) in enumerate(made, start=1)]
    slugs = sorted({f"s{slug}" for slug, _status in made})
    gone = set(removed(slugs, releases))
    live = list(dict.fromkeys(each.slug_id for each in reversed(releases) if each.status is S))
    pending = {each.slug_id for each in releases if each.status is P}
    assert gone.isdisjoint({*live[:2], *pending})
    assert len(set(slugs) - gone) <= max(SLUGS_KEPT, len(pending) + 2)
