"""The environment of a dyno in `dynod up`: the caller's, then app.json's, then the `.env` files', then dynod's own.

Contracts, "Environment of a dyno"; the environment of `serve`, built from nothing, is another function. Values are
passed through untouched, also those that are no UTF-8 (surrogateescape). Pure: randomness is passed in.
"""

import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence

from dynod.core.app_manifest import AppManifest
from dynod.core.container import HOME, inside_path
from dynod.core.fault import Fault

# What systemd tells its direct child, and dynod's own settings: none of a dyno's business.
WITHHELD = frozenset({"NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM"})
WITHHELD_PREFIXES = ("LISTEN_", "WATCHDOG_", "DYNOD_")
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"  # Heroku's, where the caller has none at all
PASSED_IN_SERVE = ("LANG", "LC_ALL", "TZ")
PYTHON_BINS = ("/.venv/bin", "/venv/bin")


def up_environment(
    *,
    caller: Mapping[str, str],
    dynod_prefix: str,
    manifest_env: Mapping[str, str],
    dotenv: Sequence[Mapping[str, str]],
    folder_bins: Sequence[str],
    dyno: str,
    port: int | None,
) -> dict[str, str]:
    """Build the environment of one dyno.

    `dynod_prefix` is `sys.prefix`, the venv that dynod runs in; `manifest_env` comes from `manifest_values`;
    `folder_bins` are absolute paths, the most important first; `dyno` is the slot's name. `port` is None for `release`
    alone, which then has no PORT even if the caller or `.env` has one: it would be somebody else's.
    DYNOD_* from app.json or `.env` is kept, since somebody wrote it for the app.
    """
    environment = {
        name: value for name, value in caller.items() if name not in WITHHELD and not name.startswith(WITHHELD_PREFIXES)
    }
    if _same_path(environment.get("VIRTUAL_ENV", ""), dynod_prefix):
        del environment["VIRTUAL_ENV"]
    environment.update(manifest_env)
    for values in dotenv:
        environment.update(values)
    environment["PATH"] = _path(
        environment.get("PATH") or DEFAULT_PATH, folder_bins, posixpath.join(dynod_prefix, "bin")
    )
    environment.setdefault("PYTHONUNBUFFERED", "1")
    environment["DYNO"] = dyno
    if port is None:
        environment.pop("PORT", None)
    else:
        environment["PORT"] = str(port)
    return environment


def contained_environment(environment: Mapping[str, str], *, folder: str) -> dict[str, str]:
    """The same for a dyno that sees the folder at /app, and none of its caller's own places."""
    left_out = {"TMPDIR", "TMP", "TEMP", "OLDPWD", "XDG_RUNTIME_DIR"}
    places = [inside_path(path, folder) for path in environment.get("PATH", "").split(":")]
    own = {"HOME": HOME, "PWD": HOME, "PATH": ":".join(places)}
    return {**{name: value for name, value in environment.items() if name not in left_out}, **own}


def serve_environment(
    *,
    daemon: Mapping[str, str],
    config_vars: Mapping[str, str],
    home: str,
    folder_bins: Sequence[str],
    dyno: str,
    port: int | None,
) -> dict[str, str]:
    """Build the environment of one dyno of `serve`, from nothing: of the daemon's only LANG, LC_ALL and TZ pass.

    `home` is the app's folder, HOME and working folder as on Heroku; `port` is None for `release` alone.
    """
    environment = {name: daemon[name] for name in PASSED_IN_SERVE if name in daemon}
    environment.setdefault("LANG", "C.UTF-8")
    environment["HOME"] = home
    environment["PATH"] = DEFAULT_PATH
    environment.update(config_vars)
    environment["PATH"] = _path(environment["PATH"], folder_bins, dynod_bin="")
    environment.setdefault("PYTHONUNBUFFERED", "1")
    environment["DYNO"] = dyno
    if port is None:
        environment.pop("PORT", None)
    else:
        environment["PORT"] = str(port)
    return environment


def manifest_values(manifest: AppManifest, *, elsewhere: Collection[str], secret: Callable[[], str]) -> dict[str, str]:
    """The variables that app.json's `env` gives: each `value`, and a new secret for each `generator`.

    `elsewhere` holds the names that the caller or a `.env` file set: for those nothing is generated. Call it once per
    start and keep the result, so that all dynos share a secret and keep it over restarts.
    """
    values: dict[str, str] = {}
    for name, variable in manifest.env.items():
        if variable.value is not None:
            values[name] = variable.value
        elif variable.generated and name not in elsewhere:
            values[name] = secret()
    return values


def missing_variables(manifest: AppManifest, *, elsewhere: Collection[str]) -> tuple[Fault, ...]:
    """A fault for each variable that app.json requires and nobody sets."""
    return tuple(
        Fault(
            file=manifest.file,
            line=variable.line,
            message=f"env.{name} is required and has no value: set it in .env or in the environment"
            + (f" ({variable.description})" if variable.description else ""),
        )
        for name, variable in manifest.env.items()
        if variable.required and variable.value is None and not variable.generated and name not in elsewhere
    )


def _path(path: str, folder_bins: Sequence[str], dynod_bin: str) -> str:
    """PATH with the folder's own programs first.

    Where the folder has a Python environment of its own, dynod's (on PATH because somebody activated it) goes last, so
    that it stands in for nothing the app or the system has. Where it has none, dynod's may well be the app's: it stays.
    """
    entries = path.split(":")
    if any(entry.endswith(PYTHON_BINS) for entry in folder_bins):
        dynods = [entry for entry in entries if _same_path(entry, dynod_bin)]
        if dynods:
            entries = [entry for entry in entries if entry not in dynods] + dynods[:1]
    first = [entry.rstrip("/") for entry in folder_bins]
    return ":".join([*first, *(entry for entry in entries if entry.rstrip("/") not in first)])


def _same_path(one: str, other: str) -> bool:
    return bool(one) and posixpath.normpath(one) == posixpath.normpath(other)
