"""`dynod builds` and its family: an archive of a source becomes a slug and a release. Form: heroku-builds."""

import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

import click

from dynod.cli.release_wait import carry_out, no_wait
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, header, show, table
from dynod.errors import DynodError, UsageError
from dynod.platform_api.schema import Build

LEFT_OUT = frozenset({".git", ".dynod", "node_modules", ".venv", "venv", "__pycache__"})


class BuildFailedError(DynodError):
    """Its output says why."""

    code = "build_failed"


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
        _follow(session, found)


@click.command("builds:create")
@click.option("--source-tar", type=click.Path(path_type=Path, exists=True), metavar="FILE", help="A .tar.gz to build.")
@click.option("--source-dir", type=click.Path(path_type=Path, exists=True), metavar="DIR", help="A folder to build.")
@click.option("--version", metavar="TEXT", help="What the source is called, such as its commit.")
@no_wait
@with_session
def create(
    session: Session, source_tar: Path | None, source_dir: Path | None, version: str | None, no_wait: bool
) -> None:
    """Upload a source (by default this folder), make a slug of it as it is, release that, and wait until it is live.

    Of a folder under git that is what git tracks or would; of another one all but .venv, node_modules and the like.
    """
    if source_tar is not None and source_dir is not None:
        raise UsageError("--source-tar or --source-dir, not both")
    client, app = session.client, session.app
    with tempfile.TemporaryFile() as packed:
        if source_tar is None:
            with action("Packing"):
                pack(source_dir or Path(), cast("BinaryIO", packed))
        else:
            packed.write(source_tar.read_bytes())
        packed.seek(0)
        with action(f"Uploading to {app_name(app)}"):
            source = client.create_source(app)["source_blob"]
            client.upload(source["put_url"], cast("BinaryIO", packed))
    build = client.create_build(app, source["get_url"], version)
    if not session.as_json:
        _follow(session, build)
    else:
        for _ in client.stream(build["output_stream_url"]):
            pass
    ended = client.build(app, build["id"])
    if session.as_json:
        session.show_json(ended)
    if ended["status"] != "succeeded":
        raise BuildFailedError(f"the build of {app} has failed")
    released = ended["dynod"]["release_version"]
    if released is not None and not no_wait:
        carry_out(session, f"Verifying {app_name(app)}", lambda: str(released), waits=True)


def pack(folder: Path, into: BinaryIO) -> None:
    """A gzipped tar of the folder. Raises UsageError for one that cannot be read."""
    try:
        with tarfile.open(fileobj=into, mode="w:gz", compresslevel=6) as tar:
            for name in _names(folder):
                tar.add(folder / name, arcname=name, recursive=False)
    except OSError as error:
        raise UsageError(f"{folder} cannot be packed: {error}") from error


def _names(folder: Path) -> list[str]:
    tracked = None
    if _has_git(folder):
        listing = ["git", "-C", os.fspath(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        tracked = subprocess.run(listing, capture_output=True, check=False)  # noqa: S603 (the caller's own git)
    if tracked is not None and tracked.returncode == 0:
        names = [os.fsdecode(name) for name in tracked.stdout.split(b"\0") if name]
        return sorted(name for name in names if os.path.lexists(folder / name))
    found = []
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        here = Path(at).relative_to(folder)
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        found += [os.fspath(here / name) for name in sorted([*files, *links])]
    return found


def _has_git(folder: Path) -> bool:
    return any((above / ".git").exists() for above in (folder.resolve(), *folder.resolve().parents))


def _follow(session: Session, build: Build) -> None:
    for data in session.client.stream(build["output_stream_url"]):
        click.echo(data.decode(errors="replace"), nl=False)
