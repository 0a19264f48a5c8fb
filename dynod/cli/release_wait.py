"""A verb that makes a release: it is asked for, waited for unless somebody says not to, and said how it ended."""

import time
from collections.abc import Callable
from typing import Final

import click

from dynod.cli.session import Session
from dynod.cli.terminal import action, tell
from dynod.errors import DynodError
from dynod.platform_api.client import ApiClient
from dynod.platform_api.requests import CUT_SHORT, ApiError
from dynod.platform_api.schema import Release

# Heroku's API has nothing to wait on: a verb, which has nothing else to do, looks again. The daemon's limits end what
# is waited for (a build, a release command, a boot), so each of these waits ends.
LOOK_AGAIN_S: Final = 0.2
MOST_CUTS: Final = 25  # in a row: a core that is replaced cuts a connection once

no_wait = click.option("--no-wait", is_flag=True, help="Return when the release is recorded, not when it is live.")


class ReleaseFailedError(DynodError):
    """It was made, and did not go live."""

    code = "release_failed"


def carry_out(session: Session, message: str, change: Callable[[], str | None], *, waits: bool) -> Release | None:
    """Do it under that message; `change` returns the version of the release that it makes, None where it makes none.

    What a release command prints is shown as it comes. Raises what `change` raises, ReleaseFailedError.
    """
    is_left = is_told = False
    with action(message) as outcome:
        version = change()
        if version is None:
            outcome.text = "done, nothing has changed"
            return None
        outcome.text = f"recorded, v{version}"
        release = session.client.release(session.app, version)
        is_told = waits and release["status"] == "pending" and release["output_stream_url"] is not None
        if waits and not is_told:
            try:
                release = settled(session.client, session.app, release)
                outcome.text = f"done, v{version}"
            except KeyboardInterrupt:
                is_left = True
    if is_told:
        try:
            release = _followed(session, release)
            tell(f"done, v{version}")
        except KeyboardInterrupt:
            is_left = True
    if is_left:
        tell(f"Release v{version} goes on; `dynod releases:info v{version} -a {session.app}` says how it ends.")
        raise KeyboardInterrupt
    return release


def _followed(session: Session, release: Release) -> Release:
    from dynod.cli.deploying import live  # noqa: PLC0415 - which begins with this module, and few releases need

    return live(session.client, session.app, release["version"], lambda data: click.echo(data, nl=False, err=True))


def settled(client: ApiClient, app: str, release: Release) -> Release:
    """The release once it is live. Raises ReleaseFailedError with the reason."""
    cuts = 0
    while release["status"] == "pending":
        time.sleep(LOOK_AGAIN_S)
        try:
            release = client.release(app, str(release["version"]))
            cuts = 0
        except ApiError as error:
            cuts += 1
            if error.code != CUT_SHORT or cuts > MOST_CUTS:
                raise
    if release["status"] == "failed":
        reason = release["dynod"]["failure"] or "it is not known why"
        raise ReleaseFailedError(f"release v{release['version']} failed, and nothing has changed\n{reason}")
    return release
