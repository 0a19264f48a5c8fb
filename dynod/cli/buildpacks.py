"""`dynod buildpacks` and its family: the buildpacks that an app's next build goes by. Form: heroku/cli `buildpacks`."""

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import app_name, header, show
from dynod.core.buildpack import buildpack_reference
from dynod.core.suggest import did_you_mean, there_are
from dynod.errors import DynodError, UsageError

Position = click.IntRange(min=1)


class NoBuildpackError(DynodError):
    """There is none of that name or number."""

    code = "no_buildpack"


@click.command("buildpacks")
@with_session
def buildpacks(session: Session) -> None:
    """List the buildpacks of an app, in their order."""
    urls = _urls(session)
    if session.as_json:
        session.show_json(urls)
    elif urls:
        show("\n".join([header(f"{app_name(session.app)} Buildpack{'s' if len(urls) > 1 else ''}"), "", *_lines(urls)]))
    else:
        show(f"{app_name(session.app)} has no Buildpacks.")


@click.command("buildpacks:add")
@click.argument("buildpack")
@click.option("-i", "--index", type=Position, metavar="N", help="At this place of the list (default: the end).")
@with_session
def add(session: Session, buildpack: str, index: int | None) -> None:
    """Add a buildpack: a name such as heroku/python, or a URL."""
    urls = _urls(session)
    at = len(urls) if index is None else min(index - 1, len(urls))
    _replace(session, [*urls[:at], buildpack, *urls[at:]], "added")


@click.command("buildpacks:set")
@click.argument("buildpack")
@click.option("-i", "--index", type=Position, metavar="N", help="In this place of the list (default: the first).")
@with_session
def set_(session: Session, buildpack: str, index: int | None) -> None:
    """Put a buildpack in the place of the first, or of the one with this number."""
    urls = _urls(session)
    at = min((index or 1) - 1, len(urls))
    _replace(session, [*urls[:at], buildpack, *urls[at + 1 :]], "set")


@click.command("buildpacks:remove")
@click.argument("buildpack", required=False, metavar="[BUILDPACK]")
@click.option("-i", "--index", type=Position, metavar="N", help="The one with this number.")
@with_session
def remove(session: Session, buildpack: str | None, index: int | None) -> None:
    """Remove a buildpack, by its name or URL or by its number."""
    if (buildpack is None) == (index is None):
        raise UsageError("Please choose a position or a buildpack, and not both.")
    urls = _urls(session)
    wanted = urls[index - 1] if index is not None and index <= len(urls) else None
    if buildpack is not None:
        wanted = buildpack_reference(buildpack)
    if wanted is None or wanted not in urls:
        what = f"{wanted} is not among" if wanted is not None else f"There is no number {index} among"
        hint = did_you_mean(wanted, urls) if wanted is not None else ""
        raise NoBuildpackError(f"{what} the buildpacks of {session.app}{hint or there_are(urls)}")
    _replace(session, [url for url in urls if url != wanted], "removed")


@click.command("buildpacks:clear")
@with_session
def clear(session: Session) -> None:
    """Remove all buildpacks: the next build detects them."""
    _replace(session, [], "s cleared")


def _urls(session: Session) -> list[str]:
    return [each["buildpack"]["url"] for each in session.client.buildpacks(session.app)]


def _replace(session: Session, urls: list[str], done: str) -> None:
    app = session.app
    now = [each["buildpack"]["url"] for each in session.client.replace_buildpacks(app, urls)]
    if session.as_json:
        session.show_json(now)
        return
    said = f"Buildpack{done}." if done.startswith("s ") else f"Buildpack {done}."
    if not now:
        show(f"{said} Next release on {app_name(app)} will detect buildpacks normally.")
    elif len(now) == 1:
        show(f"{said} Next release on {app_name(app)} will use {now[0]}.")
    else:
        show("\n".join([f"{said} Next release on {app_name(app)} will use:", *(f"  {line}" for line in _lines(now))]))


def _lines(urls: list[str]) -> list[str]:
    return urls if len(urls) == 1 else [f"{number}. {url}" for number, url in enumerate(urls, start=1)]
