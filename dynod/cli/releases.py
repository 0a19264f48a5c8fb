"""`dynod releases` and its family: what an app ran, what differs between two releases, and going back."""

import sys
from datetime import UTC, datetime
from typing import Final

import click

from dynod.cli.config_text import config_lines, shell_lines
from dynod.cli.release_text import code_of, diff_lines, info_lines, release_lines
from dynod.cli.release_wait import carry_out, no_wait
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import app_name, header, show, tell
from dynod.core.config_vars import names_that_differ
from dynod.errors import DynodError, UsageError
from dynod.platform_api.requests import ApiError
from dynod.platform_api.schema import Release

DEFAULT_COUNT: Final = 15  # Heroku's
MOST: Final = 1000
LOOKED_AT: Final = 10  # Heroku: the second of the last ten that can be gone back to
NOT_FOUND: Final = 404


class NoReleaseError(DynodError):
    """There is no release to go back to, or no output of one."""

    code = "no_release"


@click.command("releases")
@click.option("-n", "--num", "count", type=click.IntRange(1, MOST), default=DEFAULT_COUNT, help="How many.")
@with_session
def releases(session: Session, count: int) -> None:
    """List an app's releases, newest first."""
    app = session.app
    found = session.client.newest_releases(app, count)
    if session.as_json:
        session.show_json(found)
    elif found:
        current = next((each for each in found if each["current"]), None) or _current(session)
        show("\n".join(release_lines(app, found, current, datetime.now(UTC))))
    else:
        show(f"{app_name(app)} has no releases.")


@click.command("releases:info")
@click.argument("release", required=False, metavar="[vN]")
@click.option("-s", "--shell", is_flag=True, help="Print the config vars alone, for shells.")
@with_session
def info(session: Session, release: str | None, shell: bool) -> None:
    """Show a release, by default the newest: who made it, what came of it, its config vars with their values."""
    found = _named(session, release)
    config = session.client.config_vars(session.app, str(found["version"]))
    if session.as_json:
        session.show_json({"release": found, "config_vars": config})
    elif shell:
        if config:
            show("\n".join(shell_lines(config)))
    else:
        show("\n".join(info_lines(found, config_lines(config))))


@click.command("releases:output")
@click.argument("release", required=False, metavar="[vN]")
@with_session
def output(session: Session, release: str | None) -> None:
    """Show what the release command of a release printed; while it runs, what it prints."""
    found = _named(session, release)
    url = found["output_stream_url"]
    if url is None:
        raise NoReleaseError(f"Release v{found['version']} has no release output available.")
    pieces = []
    try:
        for piece in session.client.stream(url):
            if session.as_json:
                pieces.append(piece)
            else:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
    except ApiError as error:
        if error.status == NOT_FOUND:
            raise NoReleaseError(str(error)) from error
        raise
    if session.as_json:
        session.show_json({"version": found["version"], "output": b"".join(pieces).decode(errors="replace")})


@click.command("releases:rollback")
@click.argument("release", required=False, metavar="[vN]")
@click.option("--code-only", is_flag=True, help="Keep today's config vars.")
@click.option("--yes", is_flag=True, help="Do not ask, though config vars change back.")
@no_wait
@with_session
def rollback(session: Session, release: str | None, code_only: bool, yes: bool, no_wait: bool) -> None:
    """Go back to a release, by default the one before: a new release with its code and its config vars."""
    client, app = session.client, session.app
    target = _named(session, release) if release is not None else _one_before(session)
    current = _current(session)
    if not code_only and target["eligible_for_rollback"]:
        _ask(session, target, yes=yes)
    made = carry_out(
        session,
        f"Rolling back {app_name(app)} to v{target['version']}",
        lambda: str(client.roll_back(app, target["id"], code_only=code_only)["version"]),
        waits=not no_wait,
    )
    tell(
        "Rollback affects code"
        + ("" if code_only else " and config vars")
        + "; databases and what else the app writes to stay as they are."
    )
    if current is not None:
        tell(f"To undo, run: dynod rollback v{current['version']} -a {app}")
    if session.as_json:
        session.show_json(made)


@click.command("releases:diff")
@click.argument("old", metavar="vN")
@click.argument("new", required=False, metavar="[vM]")
@click.option("--values", is_flag=True, help="Show the values of config vars.")
@with_session
def diff(session: Session, old: str, new: str | None, values: bool) -> None:
    """Say what differs between two releases, the second by default the newest: code, types, config vars."""
    client, app = session.client, session.app
    before, after = _named(session, old), _named(session, new)
    configs = [client.config_vars(app, str(each["version"])) for each in (before, after)]
    types = [each["dynod"]["process_types"] for each in (before, after)]
    if session.as_json:
        session.show_json(
            {
                "releases": [before["version"], after["version"]],
                "process_types": _changes(types[0], types[1], values=True),
                "config_vars": _changes(configs[0], configs[1], values=values),
            }
        )
        return
    lines = [header(f"{app_name(app)} v{before['version']} … v{after['version']}"), ""]
    if code_of(before) != code_of(after):
        lines += ["Code:", f"- {code_of(before)}", f"+ {code_of(after)}", ""]
    for title, (first, second), shown in (("Process types", types, True), ("Config vars", configs, values)):
        if changed := diff_lines(first, second, values=shown):
            lines += [f"{title}:", *changed, ""]
    show("\n".join(lines) if len(lines) > 2 else "\n".join([*lines, "No difference."]))  # noqa: PLR2004 (the header)


def _changes(old: dict[str, str], new: dict[str, str], *, values: bool) -> dict[str, object]:
    return {
        name: {"old": old.get(name), "new": new.get(name)} if values else {"old": name in old, "new": name in new}
        for name in names_that_differ(old, new)
    }


def _named(session: Session, release: str | None) -> Release:
    """`v12`, `12`, an id; by default the newest. Raises UsageError, ApiError."""
    if release is not None:
        return session.client.release(session.app, release)
    newest = session.client.newest_releases(session.app, 1)
    if not newest:
        raise NoReleaseError(f"{app_name(session.app)} has no releases.")
    return newest[0]


def _current(session: Session) -> Release | None:
    try:
        return session.client.release(session.app, "current")
    except ApiError as error:
        if error.status == NOT_FOUND:
            return None
        raise


def _one_before(session: Session) -> Release:
    eligible = [
        each for each in session.client.newest_releases(session.app, LOOKED_AT) if each["eligible_for_rollback"]
    ]
    if len(eligible) > 1:
        return eligible[1]
    raise NoReleaseError(f"No eligible release found for {app_name(session.app)} to roll back to.")


def _ask(session: Session, target: Release, *, yes: bool) -> None:
    """Name the config vars that would change back, and let somebody say no. Raises UsageError, click.Abort."""
    now = session.client.config_vars(session.app)
    names = names_that_differ(now, session.client.config_vars(session.app, str(target["version"])))
    if not names:
        return
    tell(f"These config vars change back to what v{target['version']} had: {', '.join(names)}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("say --yes to let them, or --code-only to keep them")
    click.confirm("Go on?", abort=True, err=True)
