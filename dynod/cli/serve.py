"""`dynod serve`: its command line. Parsed by the core, as `up`'s; listed here for `dynod --help`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from dynod.listeners import ListenAddress, parse_listen_address


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What was asked of `dynod serve`; None where settings decide."""

    config: Path | None
    state: Path | None
    listen: tuple[ListenAddress, ...]
    socket: Path | None
    api: ListenAddress | None
    insecure_api: bool
    check: bool
    start: bool = False
    metrics: ListenAddress | None = None
    metrics_token_file: Path | None = None


@click.command(
    name="serve",
    short_help="Run the apps of this machine: the daemon that systemd starts.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings (default: /etc/dynod/dynod.toml).")
@click.option("--state", type=click.Path(path_type=Path), help="Folder of what must last (default: /var/lib/dynod).")
@click.option("--listen", multiple=True, metavar="HOST:PORT", help="Where the router listens; repeatable.")
@click.option("--socket", type=click.Path(path_type=Path), help="Control socket (default: /run/dynod/dynod.sock).")
@click.option("--api", metavar="HOST:PORT", help="Where the API listens on TCP too, with tokens (default: nowhere).")
@click.option("--insecure-api", is_flag=True, help="Let --api be an address that other machines reach, in plain text.")
@click.option("--metrics", metavar="HOST:PORT", help="Where Prometheus finds the metrics (default: nowhere).")
@click.option("--metrics-token-file", type=click.Path(path_type=Path), help="The token that it has to show.")
@click.option("--start", is_flag=True, help="Start the dynos of a state that was restored from a backup.")
@click.option("--check", is_flag=True, help="Validate the settings and exit.")
def command(  # noqa: PLR0917 (click passes by name)
    config: Path | None,
    state: Path | None,
    listen: tuple[str, ...],
    socket: Path | None,
    api: str | None,
    insecure_api: bool,
    metrics: str | None,
    metrics_token_file: Path | None,
    check: bool,
    start: bool,
) -> ServeOptions:
    """Run every app of this machine behind one router, controlled over a socket by `dynod` verbs."""
    return ServeOptions(
        config=config,
        state=state,
        listen=tuple(parse_listen_address(address, option="--listen") for address in listen),
        socket=socket,
        api=parse_listen_address(api, option="--api") if api is not None else None,
        insecure_api=insecure_api,
        metrics=parse_listen_address(metrics, option="--metrics") if metrics is not None else None,
        metrics_token_file=metrics_token_file,
        check=check,
        start=start,
    )


def parse(arguments: Sequence[str]) -> ServeOptions | int:
    """The options, or the exit status of what click answered itself (`--help`). Raises DynodError, ClickException."""
    result = command.main(list(arguments), prog_name="dynod serve", standalone_mode=False)
    return result if isinstance(result, ServeOptions) else int(result or 0)
