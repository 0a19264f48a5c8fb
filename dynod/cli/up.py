"""`dynod up`: its command line. Parsed by the core (the keeper parses nothing); listed here for `dynod --help`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from dynod.core.formation import parse_quantities, parse_selection
from dynod.listeners import ListenAddress, parse_listen_address


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What was asked of `dynod up`."""

    selection: dict[str, int | None]
    folder: Path
    procfile: Path | None
    m_option: dict[str, int]
    listen: ListenAddress | None
    env_files: tuple[Path, ...] | None
    release: bool
    stop_on_exit: bool
    strict: bool
    watch: bool
    app: str | None
    colour: bool | None  # None: as the terminal and NO_COLOR, FORCE_COLOR say
    timestamps: bool
    api: ListenAddress | None
    insecure_api: bool
    metrics: ListenAddress | None
    metrics_token_file: Path | None


@click.command(
    name="up",
    short_help="Run the Procfile of a folder: supervised dynos, router, one log stream.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("types", nargs=-1, metavar="[TYPE[=N] …]")
@click.option(
    "-C", "folder", type=click.Path(path_type=Path), default=Path(), help="Folder of the app (default: here)."
)
@click.option("-f", "--procfile", type=click.Path(path_type=Path), help="Procfile, relative to the folder.")
@click.option("-m", "--formation", metavar="web=2,worker=1", help="How many dynos of each type.")
@click.option(
    "-p", "--port", metavar="[HOST:]PORT", help="Where the router listens (default: PORT of .env, else 5000)."
)
@click.option(
    "-e", "--env", "env_files", multiple=True, type=click.Path(path_type=Path), help="Environment file; repeatable."
)
@click.option("--release", is_flag=True, help="Run the release process first; its failure ends up.")
@click.option(
    "--on-exit",
    type=click.Choice(["restart", "stop"]),
    default="restart",
    show_default=True,
    help="What the exit of a dyno leads to.",
)
@click.option("--strict", is_flag=True, help="Production's limits, and dynos in containers, as in serve.")
@click.option("--watch", is_flag=True, help="Restart the dynos that a changed file concerns.")
@click.option("--app", metavar="NAME", help="The app's name (default: the folder's).")
@click.option("--no-color", is_flag=True, help="No colours, also on a terminal.")
@click.option("--timestamps", is_flag=True, help="Full timestamps, as heroku logs, also on a terminal.")
@click.option("--api", metavar="HOST:PORT", help="Where the API listens on TCP too, with tokens.")
@click.option("--insecure-api", is_flag=True, help="Let --api be an address that other machines reach, in plain text.")
@click.option("--metrics", metavar="HOST:PORT", help="Where Prometheus finds the metrics (default: nowhere).")
@click.option("--metrics-token-file", type=click.Path(path_type=Path), help="The token that it has to show.")
def command(  # noqa: PLR0917 (click passes by name)
    types: tuple[str, ...],
    folder: Path,
    procfile: Path | None,
    formation: str | None,
    port: str | None,
    env_files: tuple[Path, ...],
    release: bool,
    on_exit: str,
    strict: bool,
    watch: bool,
    app: str | None,
    no_color: bool,
    timestamps: bool,
    api: str | None,
    insecure_api: bool,
    metrics: str | None,
    metrics_token_file: Path | None,
) -> UpOptions:
    """Run the Procfile of a folder as supervised dynos behind a router, with one log stream.

    With TYPE arguments only those process types run, as with `heroku local`.
    """
    return UpOptions(
        selection=parse_selection(types),
        folder=folder,
        procfile=procfile,
        m_option=parse_quantities(formation) if formation is not None else {},
        listen=parse_listen_address(port, option="-p") if port is not None else None,
        env_files=env_files or None,
        release=release,
        stop_on_exit=on_exit == "stop",
        strict=strict,
        watch=watch,
        app=app,
        colour=False if no_color else None,
        timestamps=timestamps,
        api=parse_listen_address(api, option="--api") if api is not None else None,
        insecure_api=insecure_api,
        metrics=parse_listen_address(metrics, option="--metrics") if metrics is not None else None,
        metrics_token_file=metrics_token_file,
    )


def parse(arguments: Sequence[str]) -> UpOptions | int:
    """The options, or the exit status of what click answered itself (`--help`). Raises DynodError, ClickException."""
    result = command.main(list(arguments), prog_name="dynod up", standalone_mode=False)
    return result if isinstance(result, UpOptions) else int(result or 0)
