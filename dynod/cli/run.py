"""`dynod run`, `run:detached` and `ps:exec`: a command in a one-off dyno, here or unwatched, or where a dyno runs.

Form: heroku/cli `run`, `run:detached`. The dyno's exit status is dynod's, as with ssh(1); Heroku asks for -x to do so.
"""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from dynod.cli.session import Session, here, with_session
from dynod.cli.terminal import action, app_name, show, tell
from dynod.errors import DynodError, UsageError
from dynod.platform_api.finding import NoDaemonError, find_daemon, nearest_mark
from dynod.platform_api.schema import Dyno

if TYPE_CHECKING:
    from dynod.cli.attached import Attached

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
COMMAND = {"ignore_unknown_options": True, "allow_interspersed_args": False}  # what follows the first word is its own


@click.command("run", context_settings=COMMAND)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND …")
@click.option("-e", "--env", "variables", multiple=True, metavar="A=1;B=2", help="Variables of this dyno alone.")
@click.option("-s", "--size", metavar="SIZE", help="Its size.")
@click.option("--type", "process_type", metavar="TYPE", help="The process type whose size it has.")
@click.option("--no-tty", is_flag=True, help="Pipes instead of a terminal.")
@click.option("-x", "--exit-code", is_flag=True, help="For Heroku's sake: the dyno's exit status is passed on anyway.")
@with_session
def command(  # noqa: PLR0917 (click passes by name)
    session: Session,
    command: tuple[str, ...],
    variables: tuple[str, ...],
    size: str | None,
    process_type: str | None,
    no_tty: bool,
    exit_code: bool,
) -> None:
    """Run a command in a one-off dyno, attached to this terminal or these pipes.

    A first word that is a process type stands for its command. In a folder whose app does not run here, the command
    runs in the folder's own environment.
    """
    del exit_code
    line = command_line(command, "run")
    environment = parse_variables(variables)
    if _belongs_here(session):
        from dynod.cli.run_here import become  # noqa: PLC0415 (only where nothing runs)

        tell(f"dynod: no dynod runs for {here()}: running {line} in its environment, unsupervised")
        become(here(), [line], extra=environment)
    terminal = not no_tty and os.isatty(0) and os.isatty(1)
    with action(f"Running {line} on {app_name(session.app)}") as outcome:
        dyno = session.client.run_dyno(
            session.app,
            line,
            environment=_with_term(environment) if terminal else environment,
            attach=True,
            terminal=terminal,
            size=size,
            process_type=process_type,
        )
        attached = _attached(session, dyno, terminal=terminal)
        outcome.text = f"up, {dyno['name']}"
    _pass_on(attached, dyno)


@click.command("ps:exec", context_settings=COMMAND)
@click.argument("dyno")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] [COMMAND …]")
@click.option("--no-tty", is_flag=True, help="Pipes instead of a terminal.")
@with_session
def enter(session: Session, dyno: str, command: tuple[str, ...], no_tty: bool) -> None:
    """Run a command where a dyno runs, a shell by default, attached to this terminal or these pipes.

    It is in the dyno's container, folder and environment, as its user, and ends with it.
    """
    if command[:1] == ("--",):
        command = command[1:]
    elif command and command[0].startswith("-"):
        raise UsageError(f"{command[0]}: options of ps:exec come before the dyno: dynod ps:exec [OPTIONS] {dyno} …")
    line = command_line(command, "ps:exec") if command else None
    terminal = not no_tty and os.isatty(0) and os.isatty(1)
    with action(f"Running {line or 'a shell'} in {dyno} of {app_name(session.app)}") as outcome:
        environment = _with_term({}) if terminal else {}
        found = session.client.enter_dyno(session.app, dyno, line, environment=environment, terminal=terminal)
        attached = _attached(session, found, terminal=terminal)
        outcome.text = f"up, {found['name']}"
    _pass_on(attached, found)


def _with_term(environment: dict[str, str]) -> dict[str, str]:
    return {"TERM": os.environ["TERM"], **environment} if "TERM" in os.environ else environment


def _attached(session: Session, dyno: Dyno, *, terminal: bool) -> "Attached":
    from dynod.cli.attached import Attached  # noqa: PLC0415 (other verbs of this module have no terminal)

    url = dyno["attach_url"] or ""
    attached = Attached(lambda window: session.client.attach(url, window), dyno["name"], terminal=terminal)
    attached.open()
    return attached


def _pass_on(attached: "Attached", dyno: Dyno) -> NoReturn:
    """Until the dyno ends, with its exit status."""
    from dynod.cli.attached import Leave  # noqa: PLC0415 (as above)

    try:
        status = attached.run()
    except Leave:
        tell(f"dynod: left {dyno['name']}")
        status = INTERRUPTED
    raise SystemExit(status)


@click.command("run:detached", context_settings=COMMAND)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND …")
@click.option("-e", "--env", "variables", multiple=True, metavar="A=1;B=2", help="Variables of this dyno alone.")
@click.option("-s", "--size", metavar="SIZE", help="Its size.")
@click.option("--type", "process_type", metavar="TYPE", help="The process type whose size it has.")
@click.option("--time-to-live", type=click.IntRange(min=1), metavar="SECONDS", help="Stop it after this time.")
@with_session
def detached(  # noqa: PLR0917 (click passes by name)
    session: Session,
    command: tuple[str, ...],
    variables: tuple[str, ...],
    size: str | None,
    process_type: str | None,
    time_to_live: int | None,
) -> None:
    """Run a command in a one-off dyno that nobody is attached to; its output goes to the log."""
    line = command_line(command, "run:detached")
    environment = parse_variables(variables)
    with action(f"Running {line} on {app_name(session.app)}") as outcome:
        dyno = session.client.run_dyno(
            session.app,
            line,
            environment=environment,
            attach=False,
            terminal=False,
            size=size,
            process_type=process_type,
            time_to_live_s=time_to_live,
        )
        outcome.text = f"done, {dyno['name']}"
    if session.as_json:
        session.show_json(dyno)
    else:
        show(f"Run dynod logs --app {dyno['app']['name']} --dyno {dyno['name']} to view the output.")


def command_line(words: tuple[str, ...], verb: str) -> str:
    """One word is a line as a shell reads it; several are quoted, so that each stays one. Raises UsageError."""
    if not words or not words[0].strip():
        raise UsageError(f"Usage: dynod {verb} COMMAND\n\nExample: dynod {verb} bash")
    return words[0] if len(words) == 1 else shlex.join(words)


def parse_variables(options: tuple[str, ...]) -> dict[str, str]:
    r"""`-e "A=1;B=2"`, repeatable; `\;` is a semicolon that belongs to a value. Raises UsageError."""
    variables: dict[str, str] = {}
    for option in options:
        for piece in option.replace("\\;", "\0").split(";"):
            if not piece.strip():
                continue
            name, equals, value = piece.replace("\0", ";").partition("=")
            if not equals or not name.strip():
                raise UsageError(f'-e {option}: expected NAME=value[;NAME=value …], found "{piece}"')
            variables[name.strip()] = value
    return variables


def _belongs_here(session: Session) -> bool:
    """Nobody has said where, no dynod runs for this folder or one above, and it is an app's folder, or nothing runs."""
    if session.is_named or nearest_mark(here(), os.environ) is not None:
        return False
    if Path("Procfile").exists():
        return True
    try:
        find_daemon(None, os.environ, here())
    except NoDaemonError as error:
        raise NotFoundHereError(f"no dynod runs here, and this folder has no Procfile: {error}") from error
    return False


class NotFoundHereError(DynodError):
    """There is neither a daemon nor an app."""

    code = "no_daemon"
