"""`dynod apps`, `apps:info`, `apps:create` and `apps:destroy`: which apps there are, and making and ending one."""

from pathlib import Path

import click

from dynod.cli import ps_text
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import app_name, header, show
from dynod.errors import DynodError, UsageError


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
@with_session
def info(session: Session, name: str | None) -> None:
    """Show an app: its address, its dynos, since when it is there."""
    app = session.client.app(name or session.app)
    dynos = session.client.dynos(app["name"])
    if session.as_json:
        session.show_json({"app": app, "dynos": dynos, "formation": session.client.formation(app["name"])})
        return
    counts: dict[str, int] = {}
    for dyno in dynos:
        counts[dyno["type"]] = counts.get(dyno["type"], 0) + 1
    rows = {
        "Created At": f"{ps_text.parse_time(app['created_at']):%Y/%m/%d %H:%M:%S %z}",
        "Dynos": ", ".join(f"{process_type}: {count}" for process_type, count in sorted(counts.items())) or "none",
        "Maintenance": "on" if app["maintenance"] else "off",
        "Web URL": app["web_url"] or "none",
    }
    width = max(map(len, rows)) + 1
    show(
        "\n".join(
            [header(app_name(app["name"])), "", *(f"{key + ':':<{width}} {value}" for key, value in rows.items())]
        )
    )


@click.command("apps:create")
@click.argument("name")
@click.option("--dir", "folder", required=True, type=click.Path(path_type=Path), help="The folder that it runs from.")
@with_session
def create(session: Session, name: str, folder: Path) -> None:
    """Register an app of `dynod serve` from a folder with a Procfile, and run it."""
    client = session.client  # a missing daemon is said before anything else
    click.echo(f"Creating {app_name(name)}... ", nl=False, err=True)
    try:
        app = client.create_app(name, str(folder.resolve()))
    except DynodError:
        click.echo("!", err=True)
        raise
    click.echo("done", err=True)
    if session.as_json:
        session.show_json(app)
    else:
        show(app["web_url"] or "no web address")


@click.command("apps:destroy")
@click.argument("name", required=False, metavar="[APP]")
@click.option("-c", "--confirm", metavar="APP", help="The app's name once more, instead of being asked for it.")
@with_session
def destroy(session: Session, name: str | None, confirm: str | None) -> None:
    """Stop an app's dynos and forget the app; its folder is left alone."""
    app = session.client.app(name or session.app)["name"]
    if confirm is None:
        confirm = click.prompt(f"This stops and forgets {app}. To go on, type its name", err=True)
    if confirm != app:
        raise UsageError(f"confirmation did not match {app}: nothing was done")
    click.echo(f"Destroying {app_name(app)}... ", nl=False, err=True)
    gone = session.client.destroy_app(app)
    click.echo("done", err=True)
    if session.as_json:
        session.show_json(gone)
