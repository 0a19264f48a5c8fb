"""`dynod storage` and its family: folders of an app that outlive its dynos. Form: dokku's `storage`."""

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, header, show, table, tell

ROW = ("Name", "Path in dynos", "On this machine")


@click.command("storage")
@with_session
def storage(session: Session) -> None:
    """List the folders of an app that outlive its dynos."""
    found = session.client.storage(session.app)
    if session.as_json:
        session.show_json(found)
    elif found:
        rows = [(each["name"], each["path"], each["folder"]) for each in found]
        show("\n".join([header(f"{app_name(session.app)} Storage"), "", *table(ROW, rows)]))
    else:
        show(f"{app_name(session.app)} has no storage.")


@click.command("storage:mount")
@click.argument("mount", metavar="NAME:/PATH")
@with_session
def mount(session: Session, mount: str) -> None:
    """Show a folder that stays, called NAME, at /PATH to every dyno that starts from now on."""
    with action(f"Mounting {mount} on {app_name(session.app)}"):
        mounted = session.client.mount_storage(session.app, mount)
    _say(session, mounted)


@click.command("storage:unmount")
@click.argument("name", metavar="NAME|/PATH")
@with_session
def unmount(session: Session, name: str) -> None:
    """Show it no more to dynos that start from now on; its files stay where they are."""
    with action(f"Unmounting {name} from {app_name(session.app)}"):
        unmounted = session.client.unmount_storage(session.app, name)
    _say(session, unmounted)


def _say(session: Session, entry: object) -> None:
    if session.as_json:
        session.show_json(entry)
    else:
        tell("Dynos that run see it as before: dynod ps:restart.")
