"""`dynod rebuild`: what apps run is built again from its kept source, after the machine under it has changed."""

from collections.abc import Sequence

import click

from dynod.cli.builds import print_output
from dynod.cli.deploying import built, live
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import app_name, show, tell
from dynod.errors import DynodError, UsageError
from dynod.platform_api.schema import Release


class RebuildFailedError(DynodError):
    """Some apps go on as they were."""

    code = "rebuild_failed"


@click.command("rebuild")
@click.option("--all", "every", is_flag=True, help="Every app that was built, one after the other.")
@with_session
def rebuild(session: Session, every: bool) -> None:
    """Build again what an app runs, from the source that was kept, and wait until it is live.

    For a machine whose Python, or the like, is another one than it was: a release that was built for the old one says
    so when it is started.
    """
    if not every:
        _shown(session, [(session.app, _rebuilt(session, session.app))])
        return
    if session.named_app is not None:
        raise UsageError("-a APP or --all, not both")
    done: list[tuple[str, Release]] = []
    failed: list[str] = []
    for name in [app["name"] for app in session.client.apps()]:
        if not _was_built(session.client.releases(name)):
            continue
        try:
            done.append((name, _rebuilt(session, name)))
        except DynodError as error:
            tell(f" ▸ {error}")
            failed.append(name)
    _shown(session, done)
    if failed:
        raise RebuildFailedError(f"not rebuilt, and running as before: {', '.join(failed)}")


def _was_built(releases: Sequence[Release]) -> bool:
    """What runs of the app is a slug, and no folder of this machine."""
    return any(release["current"] and release["slug"] is not None for release in releases)


def _rebuilt(session: Session, app: str) -> Release:
    write = (lambda _data: None) if session.as_json else print_output
    build = built(session.client, app, session.client.rebuild(app), write)
    version = build["dynod"]["release_version"]
    assert version is not None  # noqa: S101 (it has succeeded)
    return live(session.client, app, version, write)


def _shown(session: Session, done: list[tuple[str, Release]]) -> None:
    if session.as_json:
        session.show_json([{"app": app, "release": release} for app, release in done])
    for app, release in done if not session.as_json else ():
        show(f"{app_name(app)} v{release['version']} is live")
