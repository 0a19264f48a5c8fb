"""`dynod apps` and its family: which apps there are, and making, renaming and ending one."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from dynod.cli import ps_text
from dynod.cli.git_remote import add_remote, rename_remote
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, ask, header, show
from dynod.core.git_remote import NAME
from dynod.errors import UsageError
from dynod.platform_api.finding import Daemon
from dynod.platform_api.schema import App


@click.command("apps")
@with_session
def apps(session: Session) -> None:
    """List the apps of this dynod."""
    found = session.client.apps()
    if session.as_json:
        session.show_json(found)
    elif found:
        show("\n".join([header("Apps"), "", *(app["name"] for app in found), ""]))
    else:
        show("You have no apps.")


@click.command("apps:info")
@click.argument("name", required=False, metavar="[APP]")
@click.option("-s", "--shell", is_flag=True, help="Print name=value lines, for shells.")
@with_session
def info(session: Session, name: str | None, shell: bool) -> None:
    """Show an app: its address, its dynos, since when it is there."""
    app = session.client.app(name or session.app)
    dynos = session.client.dynos(app["name"])
    if session.as_json:
        session.show_json({"app": app, "dynos": dynos, "formation": session.client.formation(app["name"])})
        return
    counts: dict[str, int] = {}
    for dyno in dynos:
        counts[dyno["type"]] = counts.get(dyno["type"], 0) + 1
    if shell:
        show("\n".join(_shell_lines(app, counts)))
        return
    rows = {
        "Created At": f"{ps_text.parse_time(app['created_at']):%Y/%m/%d %H:%M:%S %z}",
        "Dynos": ", ".join(f"{process_type}: {count}" for process_type, count in sorted(counts.items())) or "none",
        "Maintenance": "on" if app["maintenance"] else "off",
        "Owner": app["owner"]["email"],
        "Region": app["region"]["name"],
        "Stack": app["stack"]["name"],
        "Web URL": app["web_url"] or "none",
    }
    width = max(map(len, rows)) + 1
    show(
        "\n".join(
            [header(app_name(app["name"])), "", *(f"{key + ':':<{width}} {value}" for key, value in rows.items())]
        )
    )


def _shell_lines(app: App, counts: Mapping[str, int]) -> list[str]:
    """Heroku's keys, values quoted as a shell needs it."""
    values = {
        "name": app["name"],
        "created_at": app["created_at"],
        "dynos": json.dumps(dict(sorted(counts.items()))),
        "git_url": app["git_url"],
        "maintenance": "true" if app["maintenance"] else "false",
        "owner": app["owner"]["email"],
        "region": app["region"]["name"],
        "repo_size": app["repo_size"] or 0,
        "slug_size": app["slug_size"] or 0,
        "stack": app["stack"]["name"],
        "web_url": app["web_url"],
    }
    return [f"{key}={shlex.quote(str(value)) if value != '' else ''}" for key, value in values.items()]


@click.command("apps:create")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="The folder that it runs from.")
@click.option("-r", "--remote", default=NAME, metavar="NAME", help="The git remote to add.")
@click.option("--no-remote", is_flag=True, help="Add no git remote.")
@with_session
def create(session: Session, name: str | None, folder: Path | None, remote: str, no_remote: bool) -> None:
    """Create an app of `dynod serve`: from a folder with a Procfile, or one that waits for its code.

    Without a name it gets a made up one. In a git work tree that has no remote `dynod` yet, it becomes that one.
    """
    name = _name_of_new(name, session.given_app)
    client = session.client  # a missing daemon is said before anything else
    code = _folder_there(folder, client.daemon) if folder is not None else None
    with action(f"Creating {app_name(name) if name is not None else 'app'}") as outcome:
        app = client.create_app(name, code)
        if name is None:
            outcome.text = f"done, {app_name(app['name'])}"
    added = add_remote(app["name"], client.daemon, remote) if not no_remote else None
    if session.as_json:
        session.show_json(app)
    else:
        addresses = [address for address in (app["web_url"], added) if address]
        show(" | ".join(addresses) or "no web address")


def _name_of_new(name: str | None, by_option: str | None) -> str | None:
    """As on Heroku `-a NAME` names it too. Raises UsageError where the two differ."""
    if name is not None and by_option is not None and name != by_option:
        raise UsageError(f"one name, not two: {name}, and {by_option} by -a")
    return name or by_option


def _folder_there(folder: Path, daemon: Daemon) -> str:
    """The whole path, on the daemon's machine. Raises UsageError."""
    if daemon.host is None:
        return str(folder.resolve())
    if not folder.is_absolute():
        raise UsageError(f"--dir {folder}: a folder of {daemon.host} is meant, so give its whole path")
    return str(folder)


@click.command("apps:rename")
@click.argument("name", metavar="NEW_NAME")
@with_session
def rename(session: Session, name: str) -> None:
    """Give an app another name, and with it another web address; nothing restarts, and the git remote follows."""
    app = session.app
    with action(f"Renaming {app_name(app)} to {app_name(name)}"):
        renamed = session.client.change_app(app, name=name)
    rename_remote(app, renamed["name"], session.client.daemon)
    if session.as_json:
        session.show_json(renamed)
    else:
        show(renamed["web_url"] or "no web address")


@click.command("apps:destroy")
@click.argument("name", required=False, metavar="[APP]")
@click.option("-c", "--confirm", metavar="APP", help="The app's name once more, instead of being asked for it.")
@with_session
def destroy(session: Session, name: str | None, confirm: str | None) -> None:
    """Stop an app's dynos and forget the app; its folder is left alone."""
    app = session.client.app(name or session.app)["name"]
    if confirm is None:
        confirm = ask(f"This stops and forgets {app}. To go on, type its name", instead=f"--confirm {app}")
    if confirm != app:
        raise UsageError(f"confirmation did not match {app}: nothing was done")
    with action(f"Destroying {app_name(app)}"):
        gone = session.client.destroy_app(app)
    if session.as_json:
        session.show_json(gone)
