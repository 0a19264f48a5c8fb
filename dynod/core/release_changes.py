"""What a release has changed, by names alone: which config vars, whether the code, which process types. Pure.

Values of config vars are compared here and are in nothing that is returned, so that whoever may only look may see it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynod.core.release import Release, base_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NameChanges:
    """Names, sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseChanges:
    """`since`: the version that it was built on; None: it is the first."""

    since: int | None
    code: bool
    config: NameChanges


def changes_of(release: Release, known: Sequence[Release]) -> ReleaseChanges:
    """Against the newest release before it that has not failed, which is what it was built on (contracts 7)."""
    before = base_of([each for each in known if each.version < release.version])
    return ReleaseChanges(
        since=before.version if before is not None else None,
        code=_code_of(release) != (_code_of(before) if before is not None else None),
        config=name_changes(before.config if before is not None else {}, release.config),
    )


def name_changes(old: Mapping[str, str], new: Mapping[str, str]) -> NameChanges:
    """Which names came, went, or mean something else."""
    return NameChanges(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name])),
    )


def _code_of(release: Release) -> str | None:
    """A slug; without one the folder's plan, which has changed where the folder was released again."""
    return release.slug_id if release.slug_id is not None else release.plan
