"""The config vars of apps and their releases: what is shown of them, and what makes a new one.

Flow: platform_api → **app config** → app releases → store. Each change is one release, recorded before it is answered;
how it goes live is `app_releases`' matter. May import operations, app_releases, app_slugs, serve_plan, core and errors.
Values of config vars are in what it returns, and in no message.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from dynod.app_releases import AppReleases
from dynod.app_slugs import AppSlugs
from dynod.core.config_vars import ConfigRefusedError
from dynod.core.release import (
    Draft,
    Release,
    ReleaseRefusedError,
    base_of,
    current_of,
    draft_config,
    draft_rollback,
)
from dynod.core.suggest import release_not_found
from dynod.kept_notes import from_note
from dynod.one_build import Deploy
from dynod.operations import AppView, InvalidError, NotFoundError, Operations, RunningApp
from dynod.serve_plan import ServePlan, declares_release
from dynod.store.audit import actor

CURRENT = "current"  # what a release can be called besides its version and id


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseView:
    """A release, as the API shows it."""

    app: AppView
    release: Release
    is_current: bool
    process_types: Mapping[str, str]  # with their commands; none without code


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigView:
    """Config vars, values and all. `release` is what a change has made; None where it has changed nothing."""

    config: Mapping[str, str]
    release: ReleaseView | None


class AppConfig:
    """Of every app of the daemon."""

    def __init__(self, operations: Operations, *, slugs: AppSlugs, deploy: Deploy) -> None:
        """`deploy` makes a release of a slug's code, as it does for a build."""
        self._operations = operations
        self._slugs = slugs
        self._deploy = deploy

    # --- config vars ------------------------------------------------------------------------------------------------

    async def config(self, ref: str) -> Mapping[str, str]:
        """As the newest release has them that has not failed (contracts 7). Raises NotFoundError, StoreError."""
        _app, releases = self._find(ref)
        base = base_of(await releases.all())
        return base.config if base is not None else {}

    async def change(
        self, ref: str, changes: Mapping[str, str | None], *, by: str, replace: bool = False
    ) -> ConfigView:
        """Set config vars, unset those that are None, and with `replace` every other; one release, or none.

        Raises NotFoundError, InvalidError, StoreError.
        """

        def decide(base: Release | None, _all: Sequence[Release]) -> Draft | None:
            runs_command = declares_release(base.plan if base is not None else None)
            try:
                return draft_config(base, changes, runs_command=runs_command, replace=replace)
            except ConfigRefusedError as error:
                raise InvalidError(str(error)) from error

        made = await self._make(ref, decide, by)
        config = made.release.config if made is not None else await self.config(ref)
        return ConfigView(config=config, release=made)

    async def purge(self, ref: str, name: str, *, by: str) -> int:
        """Empty the value of a config var that is not set any more in all releases; returns in how many it was.

        Raises NotFoundError, InvalidError, StoreError.
        """
        app, releases = self._find(ref)
        async with self._operations.changing(app):
            used = [each for each in (releases.current, *releases.pending) if each is not None]
            if any(name in each.config for each in used):
                raise InvalidError(f"{name} is set: unset it first, and wait until that release is live.")
            count = await releases.purge(name, by=actor(by))
            app.journal.api(f"Purge {name} from {count} releases by user {by}")
            return count

    # --- releases ---------------------------------------------------------------------------------------------------

    async def releases(self, ref: str) -> list[ReleaseView]:
        """Every release, newest first. Raises NotFoundError, StoreError."""
        app, releases = self._find(ref)
        known = await releases.all()
        current = current_of(known)
        view = self._operations.app(app.id)
        return [_view(view, each, current) for each in known]

    async def release(self, ref: str, which: str) -> ReleaseView:
        """One, by version (`7`, `v7`), id, or `current`. Raises NotFoundError, StoreError."""
        known = await self.releases(ref)
        for each in known:
            if _is_meant(each.release, which, is_current=each.is_current):
                return each
        raise _not_found(which, [view.release for view in known])

    async def deploy(self, ref: str, slug_id: str, description: str | None, *, by: str) -> ReleaseView:
        """A new release of a slug's code. Raises NotFoundError, InvalidError, DynodError."""
        app, _releases = self._find(ref)
        slug = await self._slugs.info(app.id, slug_id)
        folder = await self._slugs.folder_of(slug)
        async with self._operations.changing(app):
            version = await self._deploy(slug, folder, description or f"Deploy {(slug.commit or slug.id)[:8]}", by)
        return await self.release(app.id, str(version))

    async def roll_back(self, ref: str, which: str, *, by: str, code_only: bool = False) -> ReleaseView:
        """A new release with the code of that one, and its config vars unless `code_only`.

        Raises NotFoundError, InvalidError, StoreError.
        """

        def decide(base: Release | None, known: Sequence[Release]) -> Draft:
            current = current_of(known)
            target = next((each for each in known if _is_meant(each, which, is_current=each is current)), None)
            if target is None:
                raise _not_found(which, known)
            try:
                return draft_rollback(base, target, runs_command=declares_release(target.plan), code_only=code_only)
            except ReleaseRefusedError as error:
                raise InvalidError(str(error)) from error

        made = await self._make(ref, decide, by)
        assert made is not None  # noqa: S101 (`decide` has made one)
        return made

    def id_of(self, app_id: str, version: int) -> str | None:
        """Of the release of that version. Raises NotFoundError."""
        return self._find(app_id)[1].id_of(version)

    def output(self, release_id: str) -> AsyncIterator[bytes]:
        """What its release command has printed, and prints; an empty piece now and then while it prints nothing.

        Raises NotFoundError, also where the command has not begun.
        """
        for view in self._operations.apps():
            releases = self._operations.find(view.id).releases
            version = releases.version_of(release_id) if releases is not None else None
            if releases is not None and version is not None:
                if version in {each.version for each in releases.pending[1:]}:
                    raise NotFoundError(
                        "Release command not started yet. Please try again in a few seconds.", "release"
                    )
                return releases.output.stream(version)
        raise NotFoundError("Couldn't find that release.", "release")

    # ----------------------------------------------------------------------------------------------------------------

    async def _make(
        self, ref: str, decide: Callable[[Release | None, Sequence[Release]], Draft | None], by: str
    ) -> ReleaseView | None:
        app, releases = self._find(ref)
        async with self._operations.changing(app):
            made = await releases.make(decide, by=actor(by))
            return None if made is None else _view(self._operations.app(app.id), made, None)

    def _find(self, ref: str) -> tuple[RunningApp, AppReleases]:
        app = self._operations.find(ref)
        if app.releases is None:
            raise InvalidError("This is dynod up, which has no releases: it runs what the folder holds.")
        return app, app.releases


def _view(app: AppView, release: Release, current: Release | None) -> ReleaseView:
    plan = from_note(release.plan, ServePlan) if release.plan is not None else None
    return ReleaseView(
        app=app,
        release=release,
        is_current=current is not None and current.version == release.version,
        process_types=plan.commands if plan is not None else {},
    )


def _is_meant(release: Release, which: str, *, is_current: bool) -> bool:
    return which.removeprefix("v") == str(release.version) or which == release.id or (which == CURRENT and is_current)


def _not_found(which: str, known: Sequence[Release]) -> NotFoundError:
    newest = max((each.version for each in known), default=None)
    return NotFoundError(release_not_found(which, newest), "release")
