"""The command line: a table of verbs, each in a module that is imported only when it is asked for.

It turns arguments into a call and errors into a message and an exit status (contracts, "Streams and exit statuses");
what a verb does is in its own module. `up` and `serve` are in the table for their help: `__main__` runs them.
"""

import errno
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from dynod import __version__
from dynod.core.suggest import did_you_mean
from dynod.errors import DynodError, ExitStatus

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

LONGEST_LINE: Final = 2000  # characters of a message: whatever was given is repeated in it
CANNOT_WRITE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})  # a full disk, say
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """Where the click command of a verb is, and its line in `dynod --help` (so that help imports no verb)."""

    module: str
    line: str
    attribute: str = "command"


VERBS: Final[Mapping[str, Verb]] = {
    "up": Verb(module="dynod.cli.up", line="Run the app of this folder: its dynos, a router, one log stream."),
    "serve": Verb(module="dynod.cli.serve", line="Run the apps of this machine, as systemd does."),
    "check": Verb(module="dynod.cli.check", line="Check Procfile, app.json and .env; show every problem at once."),
    "doctor": Verb(module="dynod.doctor.command", line="Check an app for the twelve factors by running it."),
    "status": Verb(module="dynod.cli.status", line="Show a daemon: what it is, where it listens, what is wrong."),
    "ps": Verb(module="dynod.cli.ps", attribute="ps", line="List the dynos of an app, or say why one is as it is."),
    "ps:scale": Verb(module="dynod.cli.ps", attribute="scale", line="Change how many dynos run: web=2 worker+1."),
    "ps:restart": Verb(module="dynod.cli.ps", attribute="restart", line="Restart a dyno, a process type, or all."),
    "ps:stop": Verb(module="dynod.cli.ps", attribute="stop", line="Stop a one-off dyno, or the dynos of a type."),
    "ps:wait": Verb(module="dynod.cli.ps", attribute="wait", line="Wait until every dyno is up."),
    "ps:exec": Verb(module="dynod.cli.run", attribute="enter", line="Run a command where a dyno runs, or a shell."),
    "ps:type": Verb(module="dynod.cli.ps", attribute="size", line="Show or change dyno sizes."),
    "top": Verb(module="dynod.cli.top", line="Show an app's dynos live: requests, latency, CPU, memory."),
    "open": Verb(module="dynod.cli.open_page", line="Open an app in the browser, or the dashboard."),
    "events": Verb(module="dynod.cli.events", line="Show what was done to an app, and what happened to it."),
    "webhooks": Verb(module="dynod.cli.webhooks", attribute="webhooks", line="List who is told of trouble."),
    "webhooks:add": Verb(module="dynod.cli.webhooks", attribute="add", line="Tell a URL of trouble, and of its end."),
    "webhooks:remove": Verb(module="dynod.cli.webhooks", attribute="remove", line="Tell it nothing more."),
    "webhooks:deliveries": Verb(
        module="dynod.cli.webhooks", attribute="deliveries", line="List the last messages, and what became of them."
    ),
    "logs": Verb(module="dynod.cli.logs", line="Show an app's log: its newest lines, and with --tail what comes."),
    "drains": Verb(module="dynod.cli.drains", attribute="drains", line="List where an app's log is sent."),
    "drains:add": Verb(module="dynod.cli.drains", attribute="add", line="Send an app's log somewhere, from now on."),
    "drains:remove": Verb(module="dynod.cli.drains", attribute="remove", line="Send an app's log there no more."),
    "drains:test": Verb(module="dynod.cli.drains", attribute="test", line="Send one message to a drain, and say how."),
    "config": Verb(module="dynod.cli.config", attribute="config", line="Show an app's config vars."),
    "config:get": Verb(module="dynod.cli.config", attribute="get", line="Print the values of config vars."),
    "config:set": Verb(module="dynod.cli.config", attribute="set_vars", line="Set config vars: one release."),
    "config:unset": Verb(module="dynod.cli.config", attribute="unset", line="Unset config vars: one release."),
    "config:edit": Verb(module="dynod.cli.config", attribute="edit", line="Edit all config vars in $EDITOR."),
    "config:purge": Verb(module="dynod.cli.config", attribute="purge", line="Remove a value from old releases too."),
    "releases": Verb(module="dynod.cli.releases", attribute="releases", line="List an app's releases."),
    "releases:info": Verb(module="dynod.cli.releases", attribute="info", line="Show a release, and why it failed."),
    "releases:output": Verb(
        module="dynod.cli.releases", attribute="output", line="Show what a release command printed, or prints."
    ),
    "releases:rollback": Verb(module="dynod.cli.releases", attribute="rollback", line="Go back to a release."),
    "releases:diff": Verb(module="dynod.cli.releases", attribute="diff", line="Say what differs between two releases."),
    "run": Verb(module="dynod.cli.run", line="Run a command in a one-off dyno, here."),
    "run:detached": Verb(
        module="dynod.cli.run", attribute="detached", line="Run a command in a one-off dyno; output to the log."
    ),
    "attach": Verb(module="dynod.cli.attach", line="Put a dyno of dynod up on this terminal, for a debugger."),
    "apps": Verb(module="dynod.cli.apps", attribute="apps", line="List the apps of this dynod."),
    "apps:info": Verb(module="dynod.cli.apps", attribute="info", line="Show an app."),
    "apps:create": Verb(module="dynod.cli.apps", attribute="create", line="Create an app, from a folder or without."),
    "apps:rename": Verb(module="dynod.cli.apps", attribute="rename", line="Give an app another name."),
    "apps:destroy": Verb(module="dynod.cli.apps", attribute="destroy", line="Stop an app and forget it."),
    "deploy": Verb(module="dynod.cli.deploy", line="Build a folder's source, release it, wait until it is live."),
    "rebuild": Verb(
        module="dynod.cli.rebuild",
        attribute="rebuild",
        line="Build what apps run again, from the source that was kept.",
    ),
    "git:remote": Verb(module="dynod.cli.git_remote", line="Have a git remote lead to an app."),
    "domains": Verb(module="dynod.cli.domains", attribute="domains", line="List the host names that lead to an app."),
    "domains:add": Verb(module="dynod.cli.domains", attribute="add", line="Lead a host name to an app."),
    "domains:remove": Verb(module="dynod.cli.domains", attribute="remove", line="Lead a host name there no more."),
    "domains:clear": Verb(module="dynod.cli.domains", attribute="clear", line="Remove every domain of an app."),
    "features": Verb(module="dynod.cli.features", attribute="features", line="List an app's features."),
    "features:info": Verb(module="dynod.cli.features", attribute="info", line="Say what a feature is."),
    "features:enable": Verb(module="dynod.cli.features", attribute="enable", line="Switch a feature on."),
    "features:disable": Verb(module="dynod.cli.features", attribute="disable", line="Switch a feature off."),
    "labs": Verb(module="dynod.cli.features", attribute="labs", line="List features that Heroku calls labs."),
    "settings": Verb(module="dynod.cli.app_settings", attribute="settings", line="Show dynod's own knobs of an app."),
    "settings:set": Verb(module="dynod.cli.app_settings", attribute="set_", line="Turn some: [TYPE.]KEY=VALUE."),
    "settings:unset": Verb(module="dynod.cli.app_settings", attribute="unset", line="Leave some to the default."),
    "buildpacks": Verb(module="dynod.cli.buildpacks", attribute="buildpacks", line="List an app's buildpacks."),
    "buildpacks:add": Verb(module="dynod.cli.buildpacks", attribute="add", line="Add a buildpack."),
    "buildpacks:set": Verb(module="dynod.cli.buildpacks", attribute="set_", line="Replace a buildpack."),
    "buildpacks:remove": Verb(module="dynod.cli.buildpacks", attribute="remove", line="Remove a buildpack."),
    "buildpacks:clear": Verb(module="dynod.cli.buildpacks", attribute="clear", line="Remove all buildpacks."),
    "builds": Verb(module="dynod.cli.builds", attribute="builds", line="List an app's builds."),
    "builds:create": Verb(module="dynod.cli.builds", attribute="create", line="Release an archive or a folder."),
    "builds:info": Verb(module="dynod.cli.builds", attribute="info", line="Show a build."),
    "builds:output": Verb(module="dynod.cli.builds", attribute="output", line="Print, or follow, a build's output."),
    "storage": Verb(module="dynod.cli.storage", attribute="storage", line="List folders that outlive an app's dynos."),
    "storage:mount": Verb(module="dynod.cli.storage", attribute="mount", line="Show such a folder to an app's dynos."),
    "storage:unmount": Verb(module="dynod.cli.storage", attribute="unmount", line="Show it to them no more."),
    "maintenance": Verb(module="dynod.cli.maintenance", attribute="maintenance", line="Say whether it is on."),
    "maintenance:on": Verb(module="dynod.cli.maintenance", attribute="on", line="Answer requests in the app's place."),
    "maintenance:off": Verb(module="dynod.cli.maintenance", attribute="off", line="Let requests reach the app again."),
    "backup": Verb(module="dynod.cli.backup", line="Write what has to be kept of a daemon to a file."),
    "restore": Verb(module="dynod.restore", line="Make a new daemon's state from a backup."),
    "completion": Verb(module="dynod.cli.completion", line="Have Tab complete verbs and names in bash, zsh or fish."),
    "systemd:install": Verb(module="dynod.cli.systemd", attribute="install", line="Make dynod a service of systemd."),
    "systemd:uninstall": Verb(module="dynod.cli.systemd", attribute="uninstall", line="Remove that service."),
    "heroku:env": Verb(module="dynod.cli.heroku_env", line="Point Heroku's own command line at this dynod."),
    "api-stdio": Verb(module="dynod.cli.api_stdio", line="Join stdin and stdout to the API; for ssh to start."),
    "keys": Verb(module="dynod.cli.keys", attribute="keys", line="List keys of ssh."),
    "keys:add": Verb(module="dynod.cli.keys", attribute="add", line="Let in whoever has a key, to push over ssh."),
    "keys:remove": Verb(module="dynod.cli.keys", attribute="remove", line="Let a key in no more."),
    "ssh-serve": Verb(module="dynod.cli.ssh_serve", attribute="serve", line="Serve who comes with a key; for sshd."),
    "ssh-authorized-keys": Verb(
        module="dynod.cli.ssh_serve", attribute="authorized_keys", line="Print the keys; for sshd to ask for."
    ),
    "auth:create": Verb(module="dynod.cli.auth", attribute="create", line="Make a token for the API over TCP."),
    "auth:list": Verb(module="dynod.cli.auth", attribute="list_tokens", line="List the tokens."),
    "auth:revoke": Verb(module="dynod.cli.auth", attribute="revoke", line="Take a token back."),
    "auth:whoami": Verb(module="dynod.cli.auth", attribute="whoami", line="Say as whom dynod knows you."),
}

# Heroku's other names for the same verbs.
ALIASES: Final[Mapping[str, str]] = {
    "scale": "ps:scale",
    "dyno:scale": "ps:scale",
    "restart": "ps:restart",
    "dyno:restart": "ps:restart",
    "stop": "ps:stop",
    "kill": "ps:stop",
    "ps:kill": "ps:stop",
    "dyno:stop": "ps:stop",
    "dyno:kill": "ps:stop",
    "resize": "ps:type",
    "ps:resize": "ps:type",
    "dyno:resize": "ps:type",
    "config:add": "config:set",
    "config:remove": "config:unset",
    "rollback": "releases:rollback",
    "list": "apps",
    "apps:list": "apps",
    "info": "apps:info",
    "create": "apps:create",
    "destroy": "apps:destroy",
    "apps:delete": "apps:destroy",
    "rename": "apps:rename",
    "whoami": "auth:whoami",
    "keys:list": "keys",
    "authorizations": "auth:list",
    "authorizations:create": "auth:create",
    "authorizations:destroy": "auth:revoke",
    "authorizations:revoke": "auth:revoke",
    "labs:info": "features:info",
    "labs:enable": "features:enable",
    "labs:disable": "features:disable",
}


class VerbTable(click.Group):
    """A click group whose commands are the verbs of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        verb = VERBS.get(ALIASES.get(cmd_name, cmd_name))
        if verb is None:
            return None
        command = getattr(importlib.import_module(verb.module), verb.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{verb.module}.{verb.attribute} is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = {**VERBS, **ALIASES}
        if args and args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f'no such command "{args[0]}"{did_you_mean(args[0], known)}', ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """Verbs by their table, so that none is imported, then options."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - what only a Tab needs

        verbs = [CompletionItem(name, help=verb.line) for name, verb in VERBS.items() if name.startswith(incomplete)]
        return verbs or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.line) for name, verb in VERBS.items()])


@click.group(cls=VerbTable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="dynod %(version)s")
def dynod() -> None:
    """The Heroku contract on your own machine: supervised dynos, an HTTP router, one log stream."""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. A message of an error is one or more lines on stderr.

    Where the reader of stdout has left, as `head` does, click ends the process quietly with status 1.
    """
    _have_streams()
    given = [*arguments[1:2], "--help"] if arguments[:1] == ["help"] else list(arguments)  # as `heroku help ps:scale`
    try:
        status = dynod.main(args=given, prog_name="dynod", standalone_mode=False)
    except DynodError as error:
        return refuse(str(error), error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitStatus.USAGE
    except click.UsageError as error:
        hint = f"try 'dynod {error.ctx.info_name} --help'" if error.ctx and error.ctx.parent else "try 'dynod --help'"
        return refuse(f"{sentence(error.format_message())}; {hint}", ExitStatus.USAGE)
    except click.ClickException as error:
        return refuse(sentence(error.format_message()), ExitStatus.REFUSED)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost boundary: a bug shows as one, with its own exit status
        if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is buffered cannot be written at the exit either
            return refuse(f"cannot write {error.filename or 'to stdout'}: {error.strerror}", ExitStatus.REFUSED)
        import traceback  # noqa: PLC0415 - as above

        traceback.print_exc()
        return refuse("this is a bug in dynod; please report the lines above", ExitStatus.SOFTWARE)
    return status if isinstance(status, int) else ExitStatus.DONE


def _have_streams() -> None:
    """Whoever closes stdin, stdout or stderr (`>&-`) wants nothing of them; a socket must not get their numbers."""
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free is this one
            stream = os.fdopen(opened, mode, encoding="utf-8")
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)


def refuse(message: str, status: ExitStatus) -> int:
    """Say why on stderr, each line under dynod's name, and give the exit status back."""
    for line in message.splitlines():
        shown = line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"
        click.echo(f"dynod: {shown}", err=True)
    return status


def sentence(message: str) -> str:
    """Click's message as the middle of a line of ours."""
    return (message[:1].lower() + message[1:]).rstrip(".")
