"""`dynod deploy`: a folder's source built, released, and live. Form: what a push to Heroku prints."""

import tempfile
from pathlib import Path
from typing import BinaryIO, cast

import click

from dynod.cli.builds import print_output
from dynod.cli.deploying import BuildFailedError, NotUpError, built, live, trouble_of_web, upload
from dynod.cli.release_wait import no_wait
from dynod.cli.session import Session, with_session
from dynod.cli.source_archive import Source, pack, said_of
from dynod.cli.terminal import action, app_name, show, tell
from dynod.cli.upload_bar import uploading
from dynod.errors import DynodError
from dynod.platform_api.requests import ApiError
from dynod.platform_api.schema import App, Build, Release

KILO = 1024.0


class NoAppError(DynodError):
    """It has to be created first."""

    code = "not_found"


@click.command("deploy")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--version", metavar="TEXT", help="What the source is called (default: its commit).")
@no_wait
@with_session
def command(session: Session, folder: Path | None, version: str | None, no_wait: bool) -> None:
    """Build the source in a folder (by default this one), release it, and wait until it is live.

    Of a clean git work tree that is its commit. Of another folder it is what lies there, without what .gitignore
    names; .dynod never belongs to it. An app that has run from a folder runs from what was deployed from then on.
    """
    client, app = session.client, _app_of(session)
    with tempfile.TemporaryFile() as file:
        packed = cast("BinaryIO", file)
        source = _packed(folder or Path(), packed, app["name"])
        with uploading(packed, "Uploading") as read:
            url = upload(client, app["name"], read)
    build = client.create_build(app["name"], url, version or source.version)
    write = (lambda _data: None) if session.as_json else print_output
    try:
        ended = _built(session, app, build)
        release = client.release(app["name"], str(ended["dynod"]["release_version"]))
        if not no_wait:
            tell("Verifying deploy...")
            release = live(client, app["name"], release["version"], write)
            trouble = trouble_of_web(client, app["name"])
            if trouble is not None:
                raise NotUpError(f"v{release['version']} is released, but {trouble}")
    except KeyboardInterrupt:
        name = app["name"]
        tell(
            f"\nIt goes on; `dynod builds:output {build['id']} -a {name}` follows it, `dynod releases -a {name}` tells."
        )
        raise
    if session.as_json:
        session.show_json({"app": app, "build": ended, "release": release})
    elif no_wait:
        tell(f"Release v{release['version']} goes on; `dynod releases:info v{release['version']}` says how it ends.")
    else:
        _tell_where(client.app(app["name"]), release)


def _app_of(session: Session) -> App:
    try:
        return session.client.app(session.app)
    except ApiError as error:
        if error.code != "not_found":
            raise
        named = session.app
        raise NoAppError(f"there is no app {named} here: make it with `dynod apps:create {named}`") from error


def _packed(folder: Path, into: BinaryIO, app: str) -> Source:
    with action(f"Packing {app_name(app)}") as outcome:
        source = pack(folder, into)
        outcome.text = f"done, {source.what}, {_size(into.tell())}"
    if source.changed:
        tell(f" ▸ not committed, and deployed as it is: {said_of(source.changed)}")
    return source


def _built(session: Session, app: App, build: Build) -> Build:
    """As `built`; with `--json` a failed one is shown too."""
    try:
        return built(session.client, app["name"], build, (lambda _data: None) if session.as_json else print_output)
    except BuildFailedError:
        if session.as_json:
            session.show_json({"app": app, "build": session.client.build(app["name"], build["id"]), "release": None})
        raise


def _tell_where(app: App, release: Release) -> None:
    """The last line: the URL that works, where requests reach anything."""
    what = f"{app_name(app['name'])} v{release['version']} is live"
    if "web" not in release["dynod"]["process_types"]:
        show(f"{what}; it has no web process")
    else:
        show(f"{what}: {app['web_url']}" if app["web_url"] else what)


def _size(count: int) -> str:
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB"):
        if size < KILO:
            break
        size, unit = size / KILO, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
