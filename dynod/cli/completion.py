"""`dynod completion`: what a shell has to read so that Tab completes verbs, options, and the names of what is there.

The shell asks this verb again at each Tab, with the words so far. Names are those that the usage lines speak of: what
one calls DYNO is completed with the dynos of the app. A daemon that does not answer at once, or is another machine's,
is not waited for: then there is nothing to choose from. The scripts themselves are in `completion_scripts`.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from dynod.cli.completion_scripts import SCRIPTS
from dynod.errors import DynodError
from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import find_daemon

PATIENCE_S: Final = 1.0  # with the daemon: somebody has pressed a key
MOST_RELEASES: Final = 20

Names = Iterator[tuple[str, str]]  # and what is said beside each


def _apps(client: ApiClient, _app: str) -> Names:
    yield from ((each["name"], "") for each in client.apps())


def _dynos(client: ApiClient, app: str) -> Names:
    yield from ((each["name"], each["state"]) for each in client.dynos(app))


def _types(client: ApiClient, app: str) -> Names:
    yield from ((each["type"], f"{each['quantity']} of it") for each in client.formation(app))


def _assigned_types(client: ApiClient, app: str) -> Names:
    yield from ((f"{name}=", beside) for name, beside in _types(client, app))


def _releases(client: ApiClient, app: str) -> Names:
    for each in client.newest_releases(app, MOST_RELEASES):
        yield f"v{each['version']}", each["description"] or ""


def _config_vars(client: ApiClient, app: str) -> Names:
    yield from ((name, "") for name in client.config_vars(app))


def _features(client: ApiClient, app: str) -> Names:
    yield from ((each["name"], each["description"]) for each in client.features(app))


def _domains(client: ApiClient, app: str) -> Names:
    yield from ((each["hostname"], "") for each in client.domains(app))


def _drains(client: ApiClient, app: str) -> Names:
    yield from ((each["token"], "") for each in client.log_drains(app))  # a URL may hold a secret


def _builds(client: ApiClient, app: str) -> Names:
    yield from ((each["id"], each["status"]) for each in client.builds(app))


# By the word of a usage line, and where that word alone is ambiguous also by how the verb begins.
SOURCES: Final[Mapping[str, Callable[[ApiClient, str], Names]]] = {
    "APP": _apps,
    "DYNO": _dynos,
    "TYPE": _types,
    "TYPE=": _assigned_types,
    "vN": _releases,
    "vM": _releases,
    "FEATURE": _features,
    "domains:HOSTNAME": _domains,
    "URL_OR_TOKEN": _drains,
    "BUILD": _builds,
    "config:NAME": _config_vars,
}
NEW_NAMES: Final = frozenset({"domains:add"})  # what is there already is no answer
_WORD: Final = re.compile(r"[A-Za-z_]+=?")


@click.command("completion")
@click.argument("shell", type=click.Choice(sorted(SCRIPTS)))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="")
@click.option("--line", hidden=True)
def command(shell: str, words: tuple[str, ...], line: str | None) -> None:
    """Print what SHELL has to read so that Tab completes: source <(dynod completion bash)."""
    if line is None and not words:
        click.echo(SCRIPTS[shell], nl=False)
        return
    before, current = _split(line) if line is not None else (list(words[:-1]), words[-1])
    for item in completions(before, current):
        click.echo(f"{item.type}\t{item.value}\t{' '.join((item.help or '').split())}")


def completions(before: list[str], current: str) -> list[CompletionItem[str]]:
    """What the word `current` may become after those before it, `dynod` itself left out."""
    from dynod.cli.main import dynod  # noqa: PLC0415 - which has this module in its table

    verb = dynod.get_command(click.Context(dynod), before[0]) if before else None
    if verb is not None:
        _name_things(verb)
    elif before and not before[0].startswith("-"):
        return []
    with contextlib.suppress(click.ClickException):  # what is wrong already has no good end
        return ShellComplete(dynod, {}, "dynod", "").get_completions(before, current)
    return []


def _split(line: str) -> tuple[list[str], str]:
    """The words of a line up to the cursor, and the one that is being typed."""
    words = split_arg_string(line)[1:]
    if not words or line[-1:].isspace():
        return words, ""
    return words[:-1], words[-1]


def _name_things(verb: click.Command) -> None:
    family = str(verb.name).partition(":")[0]
    for parameter in verb.params:
        named = str(parameter.metavar or parameter.name)
        words = _WORD.findall(named.upper() if parameter.metavar is None else named)
        found = [source for word in words if (source := SOURCES.get(word) or SOURCES.get(f"{family}:{word}"))]
        if _assigned_types in found:
            found = [source for source in found if source is not _types]
        if found and verb.name not in NEW_NAMES:
            parameter.type = _Named(found)


class _Named(click.ParamType[str]):
    """A word that names something of the daemon's. Only ever completed."""

    name = "named"

    def __init__(self, sources: Iterable[Callable[[ApiClient, str], Names]]) -> None:
        self._sources = list(dict.fromkeys(sources))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        del param
        found = []
        with contextlib.suppress(DynodError, OSError):
            daemon = find_daemon(ctx.params.get("socket"), os.environ, Path.cwd())
            if daemon.host is not None:
                return []  # ssh may ask for a password
            client = ApiClient(daemon, timeout_s=PATIENCE_S)
            with contextlib.closing(client):
                app = ctx.params.get("app") or os.environ.get("DYNOD_APP") or daemon.app
                if app is None and self._sources != [_apps]:
                    names = [each["name"] for each in client.apps()]
                    if len(names) != 1:
                        return []
                    app = names[0]
                for source in self._sources:
                    found += [
                        CompletionItem(name, help=beside)
                        for name, beside in source(client, str(app))
                        if name.startswith(incomplete)
                    ]
        return found
