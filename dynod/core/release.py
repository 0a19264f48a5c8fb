"""Releases: what one is, and what each verb makes the next one of. Pure.

A release is code (a slug, or a folder), what that declares, and config vars, for ever; only its status changes. A new
one builds on the newest that has not failed, so that the values of a failed one are not carried on (contracts 7).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dynod.core.config_vars import change_config
from dynod.errors import DynodError

INITIAL = "Initial release"
LOGPLEX = "Enable Logplex"
ROLLBACK = "Rollback to v"
CODE_ONLY = " (code only)"


class ReleaseStatus(StrEnum):
    """Heroku's. `pending`: it is recorded, and not live yet."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"  # its slug is gone


class Phase(StrEnum):
    """Where the release command stands."""

    NONE = "none"  # there is none to run
    WANTED = "wanted"
    DONE = "done"  # it has exited with 0


class ReleaseRefusedError(DynodError):
    """A release that cannot be made."""

    code = "release_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release. `plan` is what its code declares, as its maker wrote it; None: there is no code yet."""

    version: int
    id: str
    description: str
    user: str
    status: ReleaseStatus
    slug_id: str | None
    plan: str | None
    config: Mapping[str, str]
    phase: Phase
    failure: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def eligible_for_rollback(self) -> bool:
        """Heroku: not one that failed, has lost its slug, or has no code."""
        return self.status is ReleaseStatus.SUCCEEDED and self.plan is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A release that is to be made."""

    description: str
    plan: str | None
    slug_id: str | None = None
    config: Mapping[str, str]
    runs_command: bool = False  # its release command is to run before it goes live


def base_of(releases: Sequence[Release]) -> Release | None:
    """What the next one builds on: the newest that has not failed. In any order."""
    live = [each for each in releases if each.status is not ReleaseStatus.FAILED]
    return max(live, key=lambda each: each.version, default=None)


def current_of(releases: Sequence[Release]) -> Release | None:
    """The one that is live: the newest that succeeded. In any order."""
    done = [each for each in releases if each.status is ReleaseStatus.SUCCEEDED]
    return max(done, key=lambda each: each.version, default=None)


def draft_config(
    base: Release | None, changes: Mapping[str, str | None], *, runs_command: bool, replace: bool = False
) -> Draft | None:
    """A change of config vars; None where it changes nothing. Raises ConfigRefusedError."""
    change = change_config(base.config if base is not None else {}, changes, replace=replace)
    if change.is_empty:
        return None
    return Draft(
        description=change.description,
        plan=base.plan if base is not None else None,
        slug_id=base.slug_id if base is not None else None,
        config=change.config,
        runs_command=runs_command,
    )


def draft_code(
    base: Release | None,
    *,
    plan: str,
    slug_id: str | None,
    description: str,
    runs_command: bool,
    first_config: Mapping[str, str] | None = None,
) -> Draft:
    """New code with today's config vars; `first_config` gives those that are not set (app.json's `env`)."""
    config = {**(first_config or {}), **(base.config if base is not None else {})}
    return Draft(description=description, plan=plan, slug_id=slug_id, config=config, runs_command=runs_command)


def draft_rollback(base: Release | None, target: Release, *, runs_command: bool, code_only: bool = False) -> Draft:
    """The code of `target`, and its config vars unless `code_only`. Raises ReleaseRefusedError."""
    if not target.eligible_for_rollback:
        why = {
            ReleaseStatus.FAILED: "it has failed",
            ReleaseStatus.EXPIRED: "its slug has been removed",
            ReleaseStatus.PENDING: "it is not live yet",
        }.get(target.status, "it has no code")
        raise ReleaseRefusedError(f"Cannot roll back to v{target.version}: {why}.")
    keeps = base is not None and code_only
    return Draft(
        description=f"{ROLLBACK}{target.version}{CODE_ONLY if code_only else ''}",
        plan=target.plan,
        slug_id=target.slug_id,
        config=base.config if keeps and base is not None else target.config,
        runs_command=runs_command,
    )


def rollback_target(releases: Sequence[Release]) -> Release | None:
    """Heroku's default: the second newest that can be gone back to."""
    eligible = sorted((each for each in releases if each.eligible_for_rollback), key=lambda each: -each.version)
    return eligible[1] if len(eligible) > 1 else None


def without(
    waiting: Release, *, failed: Release, before: Release | None
) -> tuple[str | None, str | None, Mapping[str, str]]:
    """Plan, slug and config vars of a release that waits, as if it had not been built on one that has failed.

    What it changed itself stays; what it took over from `failed` is what `failed` was built on had.
    """
    if waiting.description.startswith(ROLLBACK) and not waiting.description.endswith(CODE_ONLY):
        return waiting.plan, waiting.slug_id, waiting.config  # it has taken over nothing
    base_config = before.config if before is not None else {}
    own = {name: value for name, value in waiting.config.items() if failed.config.get(name) != value}
    removed = failed.config.keys() - waiting.config.keys()
    config = {name: value for name, value in {**base_config, **own}.items() if name in own or name not in removed}
    if waiting.plan != failed.plan or waiting.slug_id != failed.slug_id:
        return waiting.plan, waiting.slug_id, config
    return (before.plan, before.slug_id, config) if before is not None else (None, None, config)
