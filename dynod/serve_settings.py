"""The settings that `dynod serve` goes by: read once, then kept with the keeper for the cores that follow.

Apart from `serve`, so that a wrong one is refused before the daemon's parts are imported, which takes 0.3 s.
May import settings and what is small; the router, which knows its own settings, is imported where all are checked.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dynod.api_listener import refuse_other_machines
from dynod.cli.serve import ServeOptions
from dynod.kept_notes import from_note
from dynod.metrics_token import token_hash
from dynod.settings import Settings, load_settings, settings_file

SETTINGS: Final = "serve"  # the key under which the keeper keeps them


def settings_of(options: ServeOptions, stored: Mapping[str, str]) -> Settings:
    """Those that the first core has read: the file may be half edited when another takes over. Raises SettingsError."""
    kept = stored.get(SETTINGS)
    return read_settings(options) if kept is None else from_note(kept, Settings)


def read_settings(options: ServeOptions) -> Settings:
    """Settings by their precedence: flags, DYNOD_*, the file, defaults. Raises SettingsError."""
    flags: dict[str, str | list[str]] = {}
    if options.listen:
        flags["serve.listen"] = [str(address) for address in options.listen]
    if options.socket is not None:
        flags["serve.socket"] = os.fspath(options.socket)
    if options.state is not None:
        flags["serve.state"] = os.fspath(options.state)
    if options.api is not None:
        flags["serve.api"] = str(options.api)
    if options.insecure_api:
        flags["serve.insecure_api"] = "true"
    if options.metrics is not None:
        flags["serve.metrics"] = str(options.metrics)
    if options.metrics_token_file is not None:
        flags["serve.metrics_token_file"] = os.fspath(options.metrics_token_file)
    settings = load_settings(settings_file(options.config, os.environ), environ=os.environ, flags=flags)
    if settings.serve.metrics_token_file:
        token_hash(Path(settings.serve.metrics_token_file))  # readable, before anything is made
    return settings


def check_settings(options: ServeOptions) -> None:
    """`--check`: everything that can be known of them without making anything. Raises SettingsError."""
    from dynod.routing import Routing  # noqa: PLC0415 (see the module)

    settings = read_settings(options)
    Routing.check(settings.router)
    if settings.serve.api is not None and not settings.serve.insecure_api:
        refuse_other_machines(settings.serve.api)
