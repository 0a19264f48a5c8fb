"""`dynod attach`: a dyno of `dynod up` on this terminal, for debuggers and consoles. Ctrl-] leaves it running there."""

import os

import click

from dynod.cli.attached import Attached, Leave, window_size
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, tell
from dynod.errors import UsageError

DETACH_KEY = 0x1D  # Ctrl-], as telnet(1)


@click.command("attach")
@click.argument("dyno")
@with_session
def command(session: Session, dyno: str) -> None:
    """Restart a dyno of `dynod up` on a terminal, and attach this one to it; Ctrl-] detaches, and the dyno goes on.

    What it writes goes to the log too. Attached again, it is not restarted.
    """
    if not (os.isatty(0) and os.isatty(1)):
        raise UsageError("attach needs a terminal")
    with action(f"Attaching to {dyno} on {app_name(session.app)}") as outcome:
        found = session.client.put_on_terminal(session.app, dyno, window_size())
        url = found["attach_url"] or ""
        attached = Attached(
            lambda window: session.client.attach(url, window), found["name"], terminal=True, detach_key=DETACH_KEY
        )
        attached.open()
        outcome.text = "done (Ctrl-] detaches)"
    try:
        status = attached.run()
    except Leave:
        tell(f"dynod: detached, {found['name']} goes on")
        status = 0
    raise SystemExit(status)
