"""`dynod events`: what was done to an app, by whom, and what happened to it, in one order."""

import json
import time
from typing import Final

import click

from dynod.cli import ps_text
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import show
from dynod.platform_api.schema import EventEntry

PAUSE_S: Final = 1.0  # between two looks, with --follow, until its reader or Ctrl-C ends it


@click.command("events")
@click.option("-n", "--num", type=click.IntRange(min=1, max=1000), default=100, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("--all", "of_all", is_flag=True, help="Of every app, and of dynod itself.")
@with_session
def command(session: Session, num: int, follow: bool, of_all: bool) -> None:
    """Show the history of an app: deploys, config, scaling, crashes, memory, health, drains, disk."""
    app = None if of_all else session.app
    found = session.client.events(app, limit=num)
    if session.as_json and not follow:
        session.show_json(found)
        return
    after = 0
    while True:
        for event in found:
            after = event["id"]
            show(json.dumps(event, ensure_ascii=False) if session.as_json else _line(event, named=of_all))
        if not follow:
            return
        time.sleep(PAUSE_S)
        found = session.client.events(app, after=after)


def _line(event: EventEntry, *, named: bool) -> str:
    at = ps_text.parse_time(event["at"])
    app = f"{event['app']['name'] if event['app'] is not None else 'dynod'}: " if named else ""
    by = f" (by {event['actor']})" if event["actor"] != event["origin"] else ""
    return f"{at:%Y-%m-%d %H:%M:%S} {app}{event['action']:<22} {event['detail']}{by}".rstrip()
