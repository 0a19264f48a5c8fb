"""Which slugs of an app are kept. Pure.

Contracts 8: ten an app; the one that is live, the one before it, and what is on its way live are never removed. A slug
that no release has used goes a day after it came, which is longer than any deploy takes.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from dynod.core.release import Release, ReleaseStatus

SLUGS_KEPT: Final = 10
UNUSED_KEPT: Final = timedelta(days=1)


class SlugAge(NamedTuple):
    """A slug, and when it came."""

    id: str
    created_at: datetime


def sources_to_keep(releases: Sequence[Release]) -> set[str]:
    """Ids of the slugs whose source `dynod rebuild` may need: of what is live, what was before, what is on its way."""
    used = [release for release in sorted(releases, key=lambda each: -each.version) if release.slug_id is not None]
    pending = {release.slug_id for release in used if release.status is ReleaseStatus.PENDING}
    live = dict.fromkeys(release.slug_id for release in used if release.status is ReleaseStatus.SUCCEEDED)
    return {id_ for id_ in (*pending, *list(live)[:2]) if id_ is not None}


def slugs_to_remove(
    slugs: Sequence[SlugAge], releases: Sequence[Release], *, now: datetime, most: int = SLUGS_KEPT
) -> list[str]:
    """Ids of those to be removed. In any order."""
    used = [release for release in sorted(releases, key=lambda each: -each.version) if release.slug_id is not None]
    needed: list[str] = []  # the most important first
    live = [release for release in used if release.status is ReleaseStatus.SUCCEEDED]
    for release in [each for each in used if each.status is ReleaseStatus.PENDING] + live:
        if release.slug_id is not None and release.slug_id not in needed:
            needed.append(release.slug_id)
    pending = {release.slug_id for release in used if release.status is ReleaseStatus.PENDING}
    current_and_previous = list(dict.fromkeys(release.slug_id for release in live))[:2]
    kept = {*pending, *current_and_previous, *needed[:most]}
    ever_used = {release.slug_id for release in used}
    return [
        slug.id
        for slug in slugs
        if slug.id not in kept and (slug.id in ever_used or slug.created_at < now - UNUSED_KEPT)
    ]
