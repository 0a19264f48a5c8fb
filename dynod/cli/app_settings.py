"""`dynod settings`, `settings:set` and `settings:unset`: dynod's own knobs of an app. No release is made of them."""

import click

from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, header, show
from dynod.core.settings_table import KNOBS, check_key, parse_assignment


@click.command("settings")
@click.option("--all", "every", is_flag=True, help="Also list what is not set, and what it does.")
@with_session
def settings(session: Session, every: bool) -> None:
    """Show the settings of an app."""
    found = session.client.settings(session.app)
    if session.as_json:
        session.show_json(found)
        return
    lines = [header(f"{app_name(session.app)} Settings"), ""]
    width = max([len(key) + 1 for key in [*found, *(KNOBS if every else [])]], default=0)
    lines += [f"{key + ':':<{width}} {value}" for key, value in found.items()]
    if every:
        lines += [f"{name + ':':<{width}} not set: {knob.says}" for name, knob in KNOBS.items() if name not in found]
    if found or every:
        show("\n".join(lines))
    else:
        show(f"{app_name(session.app)} has no settings of its own.")


@click.command("settings:set")
@click.argument("assignments", nargs=-1, required=True, metavar="[TYPE.]KEY=VALUE …")
@with_session
def set_(session: Session, assignments: tuple[str, ...]) -> None:
    """Change settings of an app, all of them or none; of one process type by TYPE.KEY=VALUE."""
    read = [parse_assignment(assignment) for assignment in assignments]
    app = session.app
    with action(f"Setting {', '.join(each.key for each in read)} of {app_name(app)}"):
        found = session.client.change_settings(app, {each.key: each.text for each in read})
    if session.as_json:
        session.show_json(found)
    else:
        show("\n".join(f"{each.key}: {found[each.key]}" for each in read))


@click.command("settings:unset")
@click.argument("keys", nargs=-1, required=True, metavar="[TYPE.]KEY …")
@with_session
def unset(session: Session, keys: tuple[str, ...]) -> None:
    """Let settings of an app be what they are by default."""
    for key in keys:
        check_key(key)
    app = session.app
    with action(f"Unsetting {', '.join(keys)} of {app_name(app)}"):
        found = session.client.change_settings(app, dict.fromkeys(keys))
    if session.as_json:
        session.show_json(found)
