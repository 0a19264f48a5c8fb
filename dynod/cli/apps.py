"""`dynod apps` and `dynod apps:info`: which apps there are, and what one of them is."""

import click

from dynod.cli import ps_text
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import app_name, header, show


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
