"""`dynod builds` and its family: an archive of a source becomes a slug and a release. Form: heroku-builds."""

import tempfile
from pathlib import Path
from typing import BinaryIO, cast

import click

from dynod.cli.deploying import BuildFailedError, Output, built, upload
from dynod.cli.release_wait import carry_out, no_wait
from dynod.cli.session import Session, with_session
from dynod.cli.source_archive import pack
from dynod.cli.terminal import action, app_name, header, show, table
from dynod.errors import UsageError


@click.command("builds")
@with_session
def builds(session: Session) -> None:
    """List the builds of an app, newest first."""
    found = sorted(session.client.builds(session.app), key=lambda build: build["created_at"], reverse=True)
    if session.as_json:
        session.show_json(found)
    elif found:
        rows = [
            (each["id"], each["status"], each["source_blob"]["version"] or "", each["created_at"]) for each in found
        ]
        titles = ("Id", "Status", "Version", "Created At")
        show("\n".join([header(f"{app_name(session.app)} Builds"), "", *table(titles, rows)]))
    else:
        show(f"{app_name(session.app)} has no builds.")


@click.command("builds:info")
@click.argument("build")
@with_session
def info(session: Session, build: str) -> None:
    """Show a build."""
    found = session.client.build(session.app, build)
    if session.as_json:
        session.show_json(found)
        return
    version = found["dynod"]["release_version"]
    rows = {
        "By": found["user"]["email"],
        "Release": f"v{version}" if version is not None else "none",
        "Status": found["status"],
        "Version": found["source_blob"]["version"] or "",
        "When": found["created_at"],
    }
    show("\n".join([header(f"Build {found['id']}"), "", *(f"{key + ':':<9} {value}" for key, value in rows.items())]))


@click.command("builds:output")
@click.argument("build")
@with_session
def output(session: Session, build: str) -> None:
    """Print what a build has said, and what it says until it is over."""
    found = session.client.build(session.app, build)
    if session.as_json:
        text = b"".join(session.client.stream(found["output_stream_url"])).decode(errors="replace")
        session.show_json({"output": text})
    else:
        Output(session.client, found["output_stream_url"], print_output).follow()


@click.command("builds:create")
@click.option("--source-tar", type=click.Path(path_type=Path, exists=True), metavar="FILE", help="A .tar.gz to build.")
@click.option("--source-dir", type=click.Path(path_type=Path, exists=True), metavar="DIR", help="A folder to build.")
@click.option("--source-url", metavar="URL", help="Where dynod fetches a .tar.gz to build.")
@click.option("--version", metavar="TEXT", help="What the source is called, such as its commit.")
@no_wait
@with_session
def create(  # noqa: PLR0917 (click passes by name)
    session: Session,
    source_tar: Path | None,
    source_dir: Path | None,
    source_url: str | None,
    version: str | None,
    no_wait: bool,
) -> None:
    """Upload a source (by default this folder), have it built and released, and wait until it is live.

    Of a folder under git that is its commit or, where that has changed, what git tracks or would; of another one all
    but what .gitignore names, or .venv, node_modules and the like.
    """
    if sum(each is not None for each in (source_tar, source_dir, source_url)) > 1:
        raise UsageError("--source-tar, --source-dir or --source-url, not two of them")
    client, app = session.client, session.app
    url = source_url or _uploaded(session, source_tar, source_dir)
    build = client.create_build(app, url, version)
    try:
        ended = built(client, app, build, (lambda _data: None) if session.as_json else print_output)
    except BuildFailedError:
        if session.as_json:
            session.show_json(client.build(app, build["id"]))
        raise
    if session.as_json:
        session.show_json(ended)
    released = ended["dynod"]["release_version"]
    if released is not None and not no_wait:
        carry_out(session, f"Verifying {app_name(app)}", lambda: str(released), waits=True)


def _uploaded(session: Session, source_tar: Path | None, source_dir: Path | None) -> str:
    with tempfile.TemporaryFile() as file:
        packed = cast("BinaryIO", file)
        if source_tar is None:
            with action("Packing"):
                pack(source_dir or Path(), packed)
        else:
            packed.write(source_tar.read_bytes())
        with action(f"Uploading to {app_name(session.app)}"):
            return upload(session.client, session.app, packed)


def print_output(data: bytes) -> None:
    """A piece of what is followed, as it comes."""
    click.echo(data.decode(errors="replace"), nl=False)
