"""`dynod maintenance`, `maintenance:on` and `maintenance:off`: the router answers in the app's place; dynos run on."""

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, show


@click.command("maintenance")
@with_session
def maintenance(session: Session) -> None:
    """Say whether the app is in maintenance mode."""
    app = session.client.app(session.app)
    if session.as_json:
        session.show_json({"maintenance": app["maintenance"]})
    else:
        show("on" if app["maintenance"] else "off")


@click.command("maintenance:on")
@with_session
def on(session: Session) -> None:
    """Answer every request with the maintenance page (H80); dynos run on."""
    _switch(session, on=True)


@click.command("maintenance:off")
@with_session
def off(session: Session) -> None:
    """Let requests reach the app again."""
    _switch(session, on=False)


def _switch(session: Session, *, on: bool) -> None:
    app = session.app
    with action(f"{'Enabling' if on else 'Disabling'} maintenance mode for {app_name(app)}"):
        changed = session.client.change_app(app, maintenance=on)
    if session.as_json:
        session.show_json(changed)
