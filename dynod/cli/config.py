"""`dynod config` and its family: an app's config vars. Every change is one release, which is waited for.

Where Heroku's command line leaves a value that a change has set in the terminal's history and on the screen, `NAME -`
takes it from stdin, and does not show it.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from dynod.cli.config_text import config_lines, editable, shell_lines, shell_value
from dynod.cli.release_wait import carry_out, no_wait
from dynod.cli.session import Session, with_session
from dynod.cli.terminal import action, app_name, header, show, tell
from dynod.core.suggest import did_you_mean
from dynod.errors import DynodError, UsageError

STDIN: Final = "-"
LARGEST_FILE: Final = 1 << 20  # bytes; 16 times all that an app may have
EDITORS: Final = ("VISUAL", "EDITOR")
DEFAULT_EDITOR: Final = "vi"


class EditorFailedError(DynodError):
    """The editor could not be run, or says that it failed."""

    code = "editor_failed"


class UnreadableFileError(DynodError):
    """A file of config vars that is not there, or malformed."""

    code = "unreadable_file"


@click.command("config")
@click.option("-s", "--shell", is_flag=True, help="Print NAME=value lines, for shells.")
@click.option("-j", "as_object", is_flag=True, help="As --json.")
@with_session
def config(session: Session, shell: bool, as_object: bool) -> None:
    """Show an app's config vars, values and all."""
    found = session.client.config_vars(session.app)
    if session.as_json or as_object:
        session.show_json(dict(sorted(found.items())))
    elif shell:
        if found:
            show("\n".join(shell_lines(found)))
    else:
        show("\n".join([header(f"{app_name(session.app)} Config Vars"), "", *config_lines(found)]))


@click.command("config:get")
@click.argument("names", nargs=-1, required=True, metavar="NAME …")
@click.option("-s", "--shell", is_flag=True, help="Print NAME=value lines, for shells.")
@with_session
def get(session: Session, names: tuple[str, ...], shell: bool) -> None:
    """Print values, each on a line of its own; an empty line for what is not set."""
    found = session.client.config_vars(session.app)
    _name_the_near(session, names, found)
    if session.as_json:
        session.show_json({name: found.get(name) for name in names})
    elif shell:
        show("\n".join(f"{name}={shell_value(found.get(name, ''))}" for name in names))
    else:
        show("\n".join(found.get(name, "") for name in names))


@click.command("config:set")
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE … | NAME -]")
@click.option("-f", "--file", "file", metavar="FILE", help="Take them from a file like .env; - is stdin.")
@click.option("--replace", is_flag=True, help="Unset every other config var.")
@no_wait
@with_session
def set_vars(session: Session, changes: tuple[str, ...], file: str | None, replace: bool, no_wait: bool) -> None:
    """Set config vars: one release, however many there are.

    NAME - takes the value from stdin, without its last line break; neither it nor what a file holds is shown.
    """
    given, hidden = _given(changes, file)
    if not given and not replace:
        raise UsageError("Usage: dynod config:set KEY1=VALUE1 [KEY2=VALUE2 ...]\nMust specify KEY and VALUE to set.")
    app = session.app
    names = ", ".join(given) or "no config vars"
    release = carry_out(
        session,
        f"Setting {names} and restarting {app_name(app)}",
        lambda: session.client.change_config_vars(app, {**given}, replace=replace)[1],
        waits=not no_wait,
    )
    if session.as_json:
        session.show_json(release)
    elif shown := {name: value for name, value in given.items() if value and name not in hidden}:
        show("\n".join(f"{name}: {value}" for name, value in shown.items()))


@click.command("config:unset")
@click.argument("names", nargs=-1, metavar="NAME …")
@no_wait
@with_session
def unset(session: Session, names: tuple[str, ...], no_wait: bool) -> None:
    """Unset config vars: one release, however many there are."""
    if not names:
        raise UsageError("Usage: dynod config:unset KEY1 [KEY2 ...]\nMust specify KEY to unset.")
    app = session.app
    _name_the_near(session, names, session.client.config_vars(app))
    release = carry_out(
        session,
        f"Unsetting {', '.join(names)} and restarting {app_name(app)}",
        lambda: session.client.change_config_vars(app, dict.fromkeys(names))[1],
        waits=not no_wait,
    )
    if session.as_json:
        session.show_json(release)


@click.command("config:edit")
@no_wait
@with_session
def edit(session: Session, no_wait: bool) -> None:
    """Edit all config vars at once in $EDITOR; where nothing is changed no release is made."""
    app = session.app
    before = session.client.config_vars(app)
    file = editable(app, before, lambda text: _parse(text, "the edited file"))
    after = _parse(_edited(file.text), "the edited file")
    removed = before.keys() - after.keys() - set(file.left_out)
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    changes: dict[str, str | None] = {**changed, **dict.fromkeys(sorted(removed))}
    if not changes:
        tell("No changes: no release was made.")
        if session.as_json:
            session.show_json(None)
        return
    release = carry_out(
        session,
        f"Changing {', '.join(changes)} and restarting {app_name(app)}",
        lambda: session.client.change_config_vars(app, changes)[1],
        waits=not no_wait,
    )
    if session.as_json:
        session.show_json(release)


@click.command("config:purge")
@click.argument("name", metavar="NAME")
@with_session
def purge(session: Session, name: str) -> None:
    """Unset a config var, and remove its value from every old release too: a secret that has leaked."""
    app = session.app
    found = session.client.config_vars(app)
    _name_the_near(session, [name], found)
    if name in found:
        carry_out(
            session,
            f"Unsetting {name} and restarting {app_name(app)}",
            lambda: session.client.change_config_vars(app, {name: None})[1],
            waits=True,
        )
    with action(f"Purging {name} from the releases of {app_name(app)}") as outcome:
        count = session.client.purge_config_var(app, name)
        outcome.text = f"done, {count} of them had it"
    if session.as_json:
        session.show_json({"name": name, "releases": count})


def _name_the_near(session: Session, names: Sequence[str], found: Mapping[str, str]) -> None:
    """A slip, most likely; but what is not set may be asked for and unset, so that scripts can do both twice."""
    for name in names:
        if name not in found and (hint := did_you_mean(name, found)):
            tell(f"dynod: {name} is not set on {session.app}{hint}")


# --- what is given -----------------------------------------------------------------------------------------------


def _given(changes: tuple[str, ...], file: str | None) -> tuple[dict[str, str], set[str]]:
    """By name, and the names of those that are not to be shown. Raises UsageError, UnreadableFileError."""
    given: dict[str, str] = {}
    if file is not None:
        given |= _parse(_read_file(file), "stdin" if file == STDIN else file)
    hidden = set(given)
    words = list(changes)
    stdin_is_free = file != STDIN
    while words:
        name, equals, value = words.pop(0).partition("=")
        if not equals and words[:1] == [STDIN]:
            if not stdin_is_free:
                raise UsageError("stdin can be taken once")
            words.pop(0)
            stdin_is_free = False
            value = _decoded(sys.stdin.buffer.read(LARGEST_FILE + 1), "stdin").removesuffix("\n")
            hidden.add(name)
        elif not equals:
            raise UsageError(f"{name} is invalid. Must be in the format FOO=bar.")
        given[name] = value
    return given, hidden


def _read_file(file: str) -> str:
    try:
        if file == STDIN:
            return _decoded(sys.stdin.buffer.read(LARGEST_FILE + 1), "stdin")
        with Path(file).open("rb") as opened:
            return _decoded(opened.read(LARGEST_FILE + 1), file)
    except OSError as error:
        raise UnreadableFileError(f"{file}: {error.strerror or error}") from error


def _decoded(data: bytes, source: str) -> str:
    if len(data) > LARGEST_FILE:
        raise UnreadableFileError(f"{source}: is larger than {LARGEST_FILE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"{source}: is no text in UTF-8") from error


def _parse(text: str, source: str) -> Mapping[str, str]:
    """As `.env` is read. Raises UnreadableFileError with every fault."""
    from dynod.app_folder import parse_dotenv  # noqa: PLC0415 - what most of these verbs need not pay for

    read = parse_dotenv(text.replace("\r\n", "\n").replace("\r", "\n"), file=source)
    if read.faults:
        raise UnreadableFileError("\n".join(map(str, read.faults)))
    return read.values


def _edited(text: str) -> str:
    """What somebody makes of it. The file is for this user alone, and is gone afterwards. Raises EditorFailedError."""
    command = next((os.environ[name] for name in EDITORS if os.environ.get(name)), DEFAULT_EDITOR)
    with tempfile.TemporaryDirectory(prefix="dynod-config-") as folder:  # 0700
        path = Path(folder) / "config.env"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        try:
            status = subprocess.run([*shlex.split(command), str(path)], check=False).returncode  # noqa: S603 - the user's own editor
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise EditorFailedError(f"{command}: {said}; nothing was changed") from error
        if status:
            raise EditorFailedError(f"{command} ended with status {status}; nothing was changed")
        return _decoded(path.read_bytes(), "the edited file")
