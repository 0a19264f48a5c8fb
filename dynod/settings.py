"""The daemon's settings: flag > `DYNOD_*` > file > default, checked to the last key before anything is started.

dynod.toml (+ environment + flags) → values of `core` and plain structs. Every fault is reported, not only the first,
each with the place it stands in. The tree is a msgspec struct, so that a core can leave it with the keeper.
What `[router]` may hold is the router's to say: the daemon hands that table on.
"""

import math
import os
import re
import shlex
import signal
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from dynod.core.app_name import APP_NAME
from dynod.core.build import BUILD_S, SLUG_BYTES
from dynod.core.dotenv import NAME
from dynod.core.dyno import StopRule
from dynod.core.isolation import STRONGEST, Isolation
from dynod.core.log_buffer import BUFFER_BYTES, STALL_S
from dynod.core.log_history import HISTORY_LINES
from dynod.core.rate_limit import CALLS_AN_HOUR
from dynod.core.setting_kinds import DAY_S, Choice, Flag, Seconds, Text, Value, Whole
from dynod.core.settings_table import (
    DYNO_KNOBS,
    KNOBS,
    DynoRules,
    Knob,
    Layer,
    as_written,
    dyno_rules,
    logs_runtime_metrics,
    masks_config_vars,
    printable,
    read_rows,
    read_table,
    router_changes,
)
from dynod.core.suggest import did_you_mean
from dynod.core.toml_lines import with_line
from dynod.errors import SettingsError, UsageError
from dynod.listeners import ListenAddress, parse_listen_address

FILE_NAME: Final = "dynod.toml"
SYSTEM_FILE: Final = Path("/etc/dynod") / FILE_NAME
SYSTEM_STATE: Final = Path("/var/lib/dynod")
KIB: Final = 1024
# systemd, "Users, Groups, UIDs and GIDs on systemd Systems": nobody's, from 1879048192 on; signed numbers end at 2^31.
FIRST_UID: Final = 1_900_000_000
UIDS: Final = 65_536
WRITE_MB: Final = 2048  # of what a dyno writes in its container
MOST_UIDS: Final = 10_000_000
MOST_UID: Final = 2**31 - 2 - MOST_UIDS
MIB: Final = 1024 * KIB
MOST_NUMBER: Final = 2**63


class Serve(msgspec.Struct, frozen=True, kw_only=True):
    """`[serve]`: where `dynod serve` is reached, and where it keeps its state."""

    listen: tuple[ListenAddress, ...] = (
        ListenAddress(host="0.0.0.0", port=5000),  # noqa: S104 (a server's router is to be reached: contracts 4)
        ListenAddress(host="::", port=5000),
    )
    socket: str = ""  # the default place
    api: ListenAddress | None = None  # off, until `dynod heroku:env` asks for it on loopback
    insecure_api: bool = False
    api_calls_per_hour: int = CALLS_AN_HOUR
    metrics: ListenAddress | None = None  # off
    metrics_token_file: str = ""  # nobody has to show one
    state: str = ""  # the default place
    apps_domain: str = "localhost"
    default_app: str = ""  # the only app
    upgrade_drain_s: float = 300.0  # long enough for nearly every WebSocket, and no old version stays for long
    close_dyno_ports: bool = True


class Dynos(msgspec.Struct, frozen=True, kw_only=True):
    """`[dynos]`: how every app's dynos are treated, unless the app says otherwise."""

    starts_at_once: int = 0  # four a processor
    total_memory_mb: int = 0  # the machine's, less what `core.dyno_limits` leaves to everybody else
    await_client_s: float = 30.0  # R13
    reconnect_s: float = 10.0
    hangup_s: float = 5.0
    rules: dict[str, Value] = {}  # a layer of `core/settings_table`


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """`[container]`: how dynos are kept apart, from each other and from the machine."""

    isolation: str = STRONGEST
    visible: tuple[str, ...] = ()
    first_uid: int = FIRST_UID
    uids: int = UIDS
    write_mb: int = WRITE_MB


class Logs(msgspec.Struct, frozen=True, kw_only=True):
    """`[logs]`: the log stream's bounds."""

    stall_s: float = STALL_S
    buffer_bytes: int = BUFFER_BYTES
    history_lines: int = HISTORY_LINES


class Builds(msgspec.Struct, frozen=True, kw_only=True):
    """`[builds]`: what a build may take, and what it is told."""

    timeout_s: float = BUILD_S
    slug_bytes: int = SLUG_BYTES
    env: dict[str, str] = {}
    private_sources: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All of dynod.toml. `router` is as TOML has it; `app` is a layer, and there in `up` alone."""

    serve: Serve = Serve()
    dynos: Dynos = Dynos()
    container: Container = Container()
    logs: Logs = Logs()
    builds: Builds = Builds()
    router: dict[str, bool | int | float | str | list[str]] = {}
    app: dict[str, Value] = {}

    def dyno_rules(self, process_type: str, rows: Mapping[str, str] | None = None) -> DynoRules:
        """The rules for a process type of an app with these rows in the store."""
        return dyno_rules(process_type, (read_rows(rows or {})[0], self.app, self.dynos.rules))

    def app_router(self, rows: Mapping[str, str] | None = None) -> dict[str, Value]:
        """What is to be changed in the router's own settings for an app with these rows in the store."""
        return router_changes((read_rows(rows or {})[0], self.app))

    def masks_config_vars(self, rows: Mapping[str, str] | None = None) -> bool:
        """Whether an app with these rows in the store wants the values of its config vars hidden in its log."""
        return masks_config_vars((read_rows(rows or {})[0], self.app))

    def logs_runtime_metrics(self, rows: Mapping[str, str] | None = None) -> bool:
        """Whether an app's dynos say every 20 s what they take; `rows` are the app's own, of the store."""
        return logs_runtime_metrics((read_rows(rows or {})[0], self.app))


def stop_rule(rules: DynoRules) -> StopRule:
    """The same in this system's signal numbers."""
    return StopRule(signal=signal.Signals[rules.stop_signal], grace_s=rules.grace_s)


def settings_file(config: Path | None, environ: Mapping[str, str], *, system: Path = SYSTEM_FILE) -> Path | None:
    """The file of `dynod serve`: the one asked for, whether it is there or not, else the system's if that is there."""
    if config is None and environ.get("DYNOD_CONFIG"):
        config = Path(environ["DYNOD_CONFIG"])
    if config is not None:
        return config
    try:
        return system if system.exists() else None
    except PermissionError:  # the machine's dynod has settings, and this one is a user's own
        return None


def state_folder(settings: Settings, environ: Mapping[str, str], *, uid: int | None = None) -> Path:
    """Where `dynod serve` keeps its state (contracts 4). Absolute: parts of it are named to programs elsewhere."""
    if settings.serve.state:
        return Path(settings.serve.state).absolute()
    if environ.get("STATE_DIRECTORY"):  # systemd's; several are separated by colons, systemd.exec(5)
        return Path(environ["STATE_DIRECTORY"].partition(":")[0])
    if (os.geteuid() if uid is None else uid) == 0:
        return SYSTEM_STATE
    return user_state_folder(environ)


def user_state_folder(environ: Mapping[str, str]) -> Path:
    """Where a user's own dynod keeps what lasts."""
    home = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state"
    return Path(home) / "dynod"


def load_settings(
    file: Path | None,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, str | Sequence[str]] | None = None,
    verb: Literal["serve", "up"] = "serve",
) -> Settings:
    """Put the places together. `flags`: "serve.listen" → what was given as `--listen`, once or several times.

    Raises SettingsError with one fault a line.
    """
    reading = _Reading(verb)
    if file is not None:
        reading.file(file)
    reading.environment(environ)
    for name, found in (flags or {}).items():
        section, _, key = name.partition(".")
        reading.text(f"--{key.replace('_', '-')}", section, key, found if isinstance(found, str) else ",".join(found))
    return reading.settings()


class _Kind(Protocol):
    """As `core`'s kinds, for values that only the daemon knows."""

    @property
    def expected(self) -> str: ...

    def fit(self, found: object) -> object | None: ...

    def parse(self, text: str) -> object | None: ...


class _Addresses:
    """`[serve] listen`: one or several."""

    expected = "[HOST:]PORT, or a list of them"

    def fit(self, found: object) -> tuple[ListenAddress, ...] | None:
        texts = [found] if isinstance(found, str) else found
        if not isinstance(texts, list) or not texts:
            return None
        addresses = [_address(text) for text in texts if isinstance(text, str)]
        read = tuple(address for address in addresses if address is not None)
        return read if len(read) == len(texts) else None

    def parse(self, text: str) -> tuple[ListenAddress, ...] | None:
        return self.fit([piece.strip() for piece in text.split(",")])


class _Switched(NamedTuple):
    """What was read: None there is a value, as against nothing that could be read."""

    address: ListenAddress | None


class _Variables:
    """`[builds] env`: a table of texts; as one text, NAME=VALUE as a shell has them."""

    expected = 'a table of variables, such as { PIP_INDEX_URL = "http://…" }'

    def fit(self, found: object) -> dict[str, str] | None:
        if not isinstance(found, dict):
            return None
        is_plain = all(
            NAME.fullmatch(name) and isinstance(text, str) and "\0" not in text for name, text in found.items()
        )
        return dict(found) if is_plain else None

    def parse(self, text: str) -> dict[str, str] | None:
        try:
            pairs = [word.partition("=") for word in shlex.split(text)]
        except ValueError:
            return None
        return self.fit({name: value for name, _, value in pairs}) if all(pair[1] for pair in pairs) else None


class _OptionalAddress:
    """An address that may be switched off."""

    expected = '[HOST:]PORT, or "": off'

    def fit(self, found: object) -> _Switched | None:
        return self.parse(found) if isinstance(found, str) else None

    def parse(self, text: str) -> _Switched | None:
        address = _address(text)
        return _Switched(address) if address is not None or not text else None


def _address(text: str) -> ListenAddress | None:
    try:
        return parse_listen_address(text, option="")
    except UsageError:
        return None


class _Folders:
    """A list of folders, by their whole paths."""

    expected = "a list of absolute paths"

    def fit(self, found: object) -> tuple[str, ...] | None:
        texts = [found] if isinstance(found, str) else found
        if not isinstance(texts, list):
            return None
        read = [os.path.normpath(text) for text in texts if isinstance(text, str) and _FOLDER.fullmatch(text)]
        return tuple(read) if len(read) == len(texts) else None

    def parse(self, text: str) -> tuple[str, ...] | None:
        return self.fit([piece.strip() for piece in text.split(",") if piece.strip()])


_FOLDER: Final = re.compile(r"/[^\x00-\x1f\x7f]+")
_PATH: Final = Text(expected='a path, or "": the default place', pattern=r"[^\x00]*")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = Text(expected="a domain name in lower case", pattern=rf"{_LABEL}(?:\.{_LABEL})*", longest=253)
_APP: Final = Text(expected='the name of an app, or "": the only one', pattern=rf"(?:{APP_NAME.pattern})?")

# The plain sections. What is not here is a knob of `core/settings_table`, or the router's.
_PLAIN: Final[Mapping[str, Mapping[str, _Kind]]] = {
    "serve": {
        "listen": _Addresses(),
        "socket": _PATH,
        "api": _OptionalAddress(),
        "insecure_api": Flag(),
        "api_calls_per_hour": Whole(least=0, most=1_000_000_000, off="no limit"),
        "metrics": _OptionalAddress(),
        "metrics_token_file": Text(expected='a path, or "": no token is needed', pattern=r"[^\x00]*"),
        "state": _PATH,
        "apps_domain": _DOMAIN,
        "default_app": _APP,
        "upgrade_drain_s": Seconds(),
        "close_dyno_ports": Flag(),
    },
    "dynos": {
        "starts_at_once": Whole(least=1, most=10_000, off="four a processor"),
        "total_memory_mb": Whole(least=32, most=1_000_000_000, unit="MB", off="the machine's less a fifth"),
        "await_client_s": Seconds(),
        "reconnect_s": Seconds(off="not at all"),
        "hangup_s": Seconds(),
    },
    "container": {
        "isolation": Choice((STRONGEST, *Isolation)),
        "visible": _Folders(),
        "first_uid": Whole(least=1000, most=MOST_UID),
        "uids": Whole(least=1, most=MOST_UIDS),
        "write_mb": Whole(least=1, most=1_000_000_000, unit="MB", off="no limit"),
    },
    "logs": {
        "stall_s": Seconds(off="never"),
        "buffer_bytes": Whole(least=64 * KIB, most=1024 * MIB, unit="bytes"),
        "history_lines": Whole(least=100, most=1_000_000, unit="lines"),
    },
    "builds": {
        "timeout_s": Seconds(least=1.0, most=DAY_S),
        "slug_bytes": Whole(least=KIB, most=MOST_NUMBER, unit="bytes"),
        "private_sources": Flag(),
        "env": _Variables(),
    },
    "router": {},
    "app": {},
}
_KNOBS: Final[Mapping[str, Mapping[str, Knob]]] = {"dynos": {knob.name: knob for knob in DYNO_KNOBS}, "app": KNOBS}


class _Reading:
    """One pass over all places, farthest first; what comes later replaces what came before, key by key."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._read: dict[str, dict[str, object]] = {section: {} for section in _PLAIN}
        self._faults: list[str] = []

    def file(self, file: Path) -> None:
        found_before = len(self._faults)
        try:
            text = file.read_text(encoding="utf-8")
            document = tomllib.loads(text)
        except OSError as error:
            self._faults.append(f"{file}: {error.strerror or error}")
        except UnicodeDecodeError:
            self._faults.append(f"{file}: expected text in UTF-8")
        except tomllib.TOMLDecodeError as error:
            self._faults.append(f"{file}: {error}")
        else:
            for section, table in document.items():
                self._section(str(file), section, table)
            self._faults[found_before:] = [with_line(fault, text) for fault in self._faults[found_before:]]

    def environment(self, environ: Mapping[str, str]) -> None:
        for variable, text in sorted(environ.items()):
            for section in _PLAIN:
                prefix = f"DYNOD_{section.upper()}_"
                if variable.startswith(prefix):
                    self.text(variable, section, variable.removeprefix(prefix).lower(), text)

    def text(self, place: str, section: str, key: str, text: str) -> None:
        """One setting as text, from where no types are."""
        if section == "router":
            self._for_router(place, {key: _typed(text)})
        elif key in _PLAIN[section]:
            self._plain(place, section, key, _PLAIN[section][key].parse(text), text)
        else:
            self._knobs(place, section, read_rows({key: text}, _KNOBS.get(section, {}), known=_PLAIN[section]))

    def settings(self) -> Settings:
        """Everything put together. Raises SettingsError."""
        if self._faults:
            raise SettingsError("\n".join(self._faults))
        dynos = self._read["dynos"]
        plain = {key: dynos[key] for key in _PLAIN["dynos"] if key in dynos}
        rules = {key: value for key, value in dynos.items() if key not in plain}
        return msgspec.convert({**self._read, "dynos": {**plain, "rules": rules}}, Settings, from_attributes=True)

    def _section(self, place: str, section: str, table: object) -> None:
        if section not in _PLAIN:
            self._faults.append(f"{place}: {printable(section)}: no such section{did_you_mean(section, _PLAIN)}")
        elif not isinstance(table, dict):
            self._faults.append(f"{place}: {section}: expected a table, found {as_written(table)}")
        elif section == "router":
            self._for_router(place, table)
        else:
            plain = _PLAIN[section]
            for key in [key for key in table if key in plain]:
                found = table.pop(key)
                self._plain(place, section, key, plain[key].fit(found), found)
            self._knobs(place, section, read_table(table, _KNOBS.get(section, {}), known=plain))

    def _for_router(self, place: str, table: Mapping[str, object]) -> None:
        """Names and ranges are the router's to check; here only what no setting of its can be."""
        for key, found in table.items():
            texts = isinstance(found, list) and all(isinstance(item, str) for item in found)
            number = isinstance(found, int | float) and math.isfinite(found) and abs(found) < MOST_NUMBER
            if texts or number or isinstance(found, str):
                self._read["router"][key] = found
            else:
                self._faults.append(
                    f"{place}: router.{printable(key)}: expected a number, a text, a list of texts, true or false, "
                    f"found {as_written(found)}"
                )

    def _plain(self, place: str, section: str, key: str, value: object | None, found: object) -> None:
        if value is None:
            self._faults.append(
                f"{place}: {section}.{key}: expected {_PLAIN[section][key].expected}, found {as_written(found)}"
            )
        else:
            self._read[section][key] = value.address if isinstance(value, _Switched) else value

    def _knobs(self, place: str, section: str, read: tuple[Layer, tuple[str, ...]]) -> None:
        layer, faults = read
        self._faults += [f"{place}: {section}.{fault}" for fault in faults]
        if section == "app" and self._verb == "serve" and (layer or faults):
            self._faults.append(
                f"{place}: {section}: this is for `dynod up`; with `dynod serve` it is set for each app: "
                "dynod settings:set -a APP [TYPE.]KEY=VALUE"
            )
        self._read[section].update(layer)


def _typed(text: str) -> object:
    """A text for the router, which knows its types: a number, a list, true or false as TOML has them, else the text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
    return value if isinstance(value, bool | int | float | str | list) else text
