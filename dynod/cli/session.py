"""What a verb that talks to a daemon begins with: its common options, the daemon, and the app."""

import json
import os
from collections.abc import Callable
from functools import cached_property, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import click

from dynod.cli.terminal import show
from dynod.core.suggest import did_you_mean
from dynod.errors import DynodError, UsageError
from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon, daemon_at, find_daemon, names_app_of
from dynod.platform_api.git_folder import nearest_remote
from dynod.platform_api.requests import ApiError

Given = ParamSpec("Given")
NAMES = frozenset(
    {"app", "socket", "host", "dyno", "dyno_name", "process_type", "size", "user", "why", "source_url"}
)  # of options
NO_APP = "Couldn't find that app"  # Heroku's words


class Session:
    """One run of one verb."""

    def __init__(self, *, app: str | None, socket: str | None, as_json: bool) -> None:
        self.as_json = as_json
        self._app = app
        self._socket = socket
        self._elsewhere: Daemon | None = None

    @property
    def is_named(self) -> bool:
        """Whether somebody has said which daemon or app is meant."""
        named = ("DYNOD_SOCKET", "DYNOD_HOST", "DYNOD_APP")
        return bool(self._app or self._socket or any(os.environ.get(name) for name in named))

    @property
    def named_app(self) -> str | None:
        """The app that somebody has named, if they have."""
        return self._app or os.environ.get("DYNOD_APP") or None

    @property
    def given_app(self) -> str | None:
        """What `-a` said."""
        return self._app

    @cached_property
    def client(self) -> ApiClient:
        """The daemon. Raises NoDaemonError, UsageError."""
        return ApiClient(self._elsewhere or find_daemon(self._socket, os.environ, here()))

    @cached_property
    def app(self) -> str:
        """The app meant: `-a`, DYNOD_APP, that of this folder's `dynod up` or git remote, the only one.

        The folder's counts only for the daemon that it names: another one may have an app of the same name.
        Raises UsageError.
        """
        named = self._folders_app
        if named:
            return named
        names = [app["name"] for app in self.client.apps()]
        if len(names) == 1:
            return names[0]
        if not names:
            raise UsageError("this dynod has no app yet: make one with `dynod apps:create`")
        raise UsageError(f"which app? name it with -a: {', '.join(names)}")

    @cached_property
    def meant_app(self) -> str | None:
        """As `app`; None where there are several and none is meant, or none at all."""
        names = None if self._folders_app else [app["name"] for app in self.client.apps()]
        return self._folders_app if names is None else names[0] if len(names) == 1 else None

    @cached_property
    def _folders_app(self) -> str | None:
        """The app that is named, by somebody or by the folder."""
        return self.named_app or self.client.daemon.app or self._of_remote()

    def _of_remote(self) -> str | None:
        found = nearest_remote(here())
        return found[0].app if found is not None and names_app_of(found[0], self.client.daemon) else None

    def go_to(self, host: str) -> None:
        """Talk to the daemon of that machine, `ssh://USER@HOST[:PORT]`, by the word of `--host`. Raises UsageError."""
        if self._socket is not None:
            raise UsageError("--host and --socket name two daemons: which one?")
        self._elsewhere = daemon_at(host, os.environ, source="--host")

    def with_hint(self, error: ApiError) -> DynodError:
        """The error; where it is about the app that was named, with the name that was meant."""
        named = self.named_app
        if named is None or str(error) != f"{NO_APP}.":
            return error
        try:
            names = [app["name"] for app in self.client.apps()]
        except DynodError:
            return error
        hint = did_you_mean(named, names)
        return ApiError(f"{NO_APP}{hint}", code=error.code, status=error.status) if hint else error

    def close(self) -> None:
        """Let go of the daemon, if there was one."""
        if "client" in vars(self):
            self.client.close()

    def show_json(self, document: object) -> None:
        """Data for programs."""
        show(json.dumps(document, indent=2, ensure_ascii=False))


def here() -> Path:
    """The folder where it is called. Raises UsageError where somebody has removed it."""
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError(
            f"the folder that this shell is in is gone ({error.strerror}): change to another one"
        ) from error


def with_session(function: Callable[Concatenate[Session, Given], None]) -> Callable[Given, None]:
    """Give the verb `-a`, `--socket` and `--json`, and a Session for them."""

    @wraps(function)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> None:
        _refuse_empty(click.get_current_context())
        options = {name: kwargs.pop(name) for name in ("app", "socket", "as_json")}
        session = Session(
            app=_text(options["app"]), socket=_text(options["socket"]), as_json=options["as_json"] is True
        )
        try:
            function(session, *args, **kwargs)
        except ApiError as error:
            raise session.with_hint(error) from error.__cause__
        finally:
            session.close()

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the API's objects as JSON."),
        click.option("--socket", metavar="PATH", help="Control socket of the dynod to talk to."),
        click.option("-a", "--app", metavar="APP", help="The app (default: the one of this folder, or the only one)."),
    ):
        option(run)
    return run


def _refuse_empty(context: click.Context) -> None:
    """A variable that is not set does not mean whichever there is: `ps:stop -a "$APP"`. Raises UsageError."""
    for parameter in context.command.params:
        if parameter.type is click.UNPROCESSED:  # the words of a command, of which one may be empty
            continue
        names_something = isinstance(parameter, click.Argument) or parameter.name in NAMES
        given = context.params.get(parameter.name or "")
        if names_something and "" in (given if isinstance(given, tuple) else (given,)):
            named = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(context)
            raise UsageError(f"{named}: expected something, found an empty text")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
