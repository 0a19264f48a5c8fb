"""The settings of an app: which there are, how they are written (`[TYPE.]KEY=VALUE`), and which of several holds. Pure.

One table for both places they come from: rows of the store, set by `dynod settings:set`, and tables of dynod.toml. A
*layer* is what one place says, key → value; the nearest layer wins, and within a layer what is said of a process type
wins over what is said of the app. Which knobs of the router an app may turn is here; their defaults are the router's.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dynod.core.boot import BOOT_TIMEOUT_S
from dynod.core.fault import quoted
from dynod.core.restart import POLICIES, RestartPolicy
from dynod.core.setting_kinds import (
    DAY_S,
    MONTH_S,
    MOST_BYTES,
    Choice,
    Delays,
    Flag,
    Kind,
    Seconds,
    Share,
    SignalName,
    Text,
    Value,
    Whole,
    shown,
)
from dynod.core.suggest import did_you_mean
from dynod.errors import SettingsError, UsageError

Layer = Mapping[str, Value]  # "[TYPE.]KEY" → value

DEFAULT_RESTART: Final = "ladder"
GRACE_S: Final = 30.0  # Heroku: "Dyno Shutdown Behavior"
STOP_SIGNAL: Final = "SIGTERM"
SETTLE_S: Final = 10.0  # contracts 7
SURGE: Final = 1

_PROCESS_TYPE: Final = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)
_PAGE: Final = Text(expected='the http or https address of a page, or ""', pattern=r"(?:https?://[!-~]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One setting of an app."""

    name: str
    kind: Kind
    says: str  # what it does, for people
    per_type: bool = False  # may be said of one process type


DYNO_KNOBS: Final = (
    Knob(
        name="restart",
        kind=Delays(names=tuple(POLICIES)),
        says="how long to wait before a crashed dyno is started again: a ladder by name, or the delays",
        per_type=True,
    ),
    Knob(
        name="restart_jitter",
        kind=Share(),
        says="the share by which such a delay may be longer or shorter",
        per_type=True,
    ),
    Knob(
        name="restart_reset_after_s",
        kind=Seconds(),
        says="a dyno that has been up this long begins the ladder anew",
        per_type=True,
    ),
    Knob(
        name="boot_timeout_s",
        kind=Seconds(least=1.0, most=DAY_S),
        says="how long a web dyno may take until it listens (R10)",
        per_type=True,
    ),
    Knob(
        name="stop_signal",
        kind=SignalName(),
        says="what every process of a dyno is asked to end with",
        per_type=True,
    ),
    Knob(
        name="grace_s",
        kind=Seconds(most=DAY_S),
        says="how long it may take to end before SIGKILL (R12)",
        per_type=True,
    ),
    Knob(
        name="cycle_s",
        kind=Seconds(least=1.0, most=MONTH_S, off="never"),
        says="how long a dyno runs before it is replaced by a fresh one",
        per_type=True,
    ),
    Knob(
        name="settle_s",
        kind=Seconds(most=DAY_S),
        says="how long a dyno of a new release must stay up before the old one goes for good",
        per_type=True,
    ),
    Knob(
        name="surge",
        kind=Whole(least=1, most=500),
        says="how many dynos of a new release boot beside the old ones at once; of web",
        per_type=True,
    ),
    Knob(
        name="release_order",
        kind=Choice(("safe", "classic", "preboot")),
        says="how a new release comes: with a way back, or as on Heroku, at once or after a fixed time",
        per_type=True,
    ),
    Knob(
        name="overlap",
        kind=Flag(),
        says="true: a dyno of a new release boots beside the old one, as web dynos do",
        per_type=True,
    ),
)

ROUTER_KNOBS: Final = (
    Knob(name="connect_timeout_s", kind=Seconds(), says="how long a connection to a dyno may take"),
    Knob(name="first_byte_timeout_s", kind=Seconds(), says="how long a dyno may take to begin its answer (H12)"),
    Knob(name="enforce_first_byte", kind=Flag(), says="false: H12 is reported and the request goes on"),
    Knob(name="idle_timeout_s", kind=Seconds(), says="how long neither side may send anything (H15, H28)"),
    Knob(name="boot_hold_s", kind=Seconds(), says="how long a request waits for a dyno that boots (H20)"),
    Knob(name="request_deadline_s", kind=Seconds(), says="the longest that a whole request may take; 0: no limit"),
    Knob(name="balance", kind=Choice(("p2c", "random")), says="how a dyno is chosen for a request"),
    Knob(name="max_in_flight", kind=Whole(), says="requests that a dyno has at once; 0: no limit"),
    Knob(name="max_queue", kind=Whole(), says="requests of the app that wait; beyond it H11"),
    Knob(name="queue_timeout_s", kind=Seconds(), says="how long a request waits for a free dyno"),
    Knob(name="max_open", kind=Whole(), says="requests and tunnels of the app at once, beyond it H22; 0: no limit"),
    Knob(name="slow_start_s", kind=Seconds(), says="over how long a new dyno comes to its full share"),
    Knob(name="retry_share", kind=Share(), says="requests that may be tried again, as a share of all"),
    Knob(name="session_affinity", kind=Flag(), says="a client stays with the dyno it began with"),
    Knob(name="log_traceparent", kind=Flag(), says="a sound traceparent (W3C) ends its request's router line"),
    Knob(name="idle_reuse_s", kind=Seconds(), says="how long an idle connection to a dyno is used again"),
    Knob(name="idle_reuse_unsafe_s", kind=Seconds(), says="the same for a request that cannot be sent twice"),
    Knob(name="max_idle_links", kind=Whole(), says="idle connections that are kept to a dyno"),
    Knob(name="max_body", kind=Whole(most=MOST_BYTES, unit="bytes"), says="the longest request body; 0: no limit"),
    Knob(name="min_body_rate", kind=Whole(most=MOST_BYTES, unit="bytes"), says="a second, of a body; 0: any"),
    Knob(name="min_body_rate_after_s", kind=Seconds(), says="how long a body may be slower than that"),
    Knob(name="error_page_url", kind=_PAGE, says="shown in place of the router's own error page"),
    Knob(name="maintenance_page_url", kind=_PAGE, says="shown while the app is in maintenance"),
)

LOG_KNOBS: Final = (
    Knob(
        name="mask_config_vars",
        kind=Flag(),
        says="hide the values of config vars, from 6 bytes on, in everything that the log says",
    ),
    Knob(
        name="log_runtime_metrics",
        kind=Flag(),
        says="write each dyno's load and memory to the log every 20 seconds, as the feature log-runtime-metrics does",
    ),
)

KNOBS: Final[Mapping[str, Knob]] = {knob.name: knob for knob in (*DYNO_KNOBS, *ROUTER_KNOBS, *LOG_KNOBS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoRules:
    """How the dynos of one process type are treated."""

    restart: RestartPolicy
    boot_timeout_s: float
    stop_signal: str
    grace_s: float
    cycle_s: float  # 0: never
    settle_s: float
    surge: int
    release_order: str
    overlap: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """`worker.grace_s=120`, checked. `text` is the value as the store keeps it."""

    key: str
    value: Value

    @property
    def text(self) -> str:
        return shown(self.value)


def parse_assignment(argument: str) -> Assignment:
    """Read `[TYPE.]KEY=VALUE`. Raises UsageError for another form, SettingsError for an unknown key or a bad value."""
    key, equals, text = argument.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"expected [TYPE.]KEY=VALUE, found {quoted(argument)}")
    value, fault = _read(key, text.strip(), KNOBS, (), from_text=True)
    if value is None:
        raise SettingsError(fault)
    return Assignment(key=key, value=value)


def check_key(key: str) -> None:
    """For a key alone, as when it is unset. Raises SettingsError."""
    fault = _key_fault(key, KNOBS)
    if fault:
        raise SettingsError(fault)


def read_rows(
    rows: Mapping[str, str], knobs: Mapping[str, Knob] = KNOBS, *, known: Collection[str] = ()
) -> tuple[Layer, tuple[str, ...]]:
    """The layer in an app's rows of the store, or other text, and what was wrong with those left out.

    Unknown rows are a newer dynod's, most likely. `known`: names to suggest besides the knobs'.
    """
    return _layer(rows.items(), knobs, known, from_text=True)


def read_table(
    table: Mapping[str, object], knobs: Mapping[str, Knob] = KNOBS, *, known: Collection[str] = ()
) -> tuple[Layer, tuple[str, ...]]:
    """The layer in a TOML table, where a table in it is named for a process type, and the faults of the rest."""
    return _layer(_flat(table), knobs, known, from_text=False)


def dyno_rules(process_type: str, layers: Sequence[Layer]) -> DynoRules:
    """The rules for a process type by the layers, nearest first."""
    places = _places(process_type, layers)

    def said(name: str, within: int | None = None) -> tuple[int, Value] | None:
        return next(((i, place[name]) for i, place in enumerate(places[:within]) if name in place), None)

    def seconds(name: str, default: float, within: int | None = None) -> float:
        found = said(name, within)
        return found[1] if found is not None and isinstance(found[1], float) else default

    at, restart = said("restart") or (len(places), DEFAULT_RESTART)
    policy = POLICIES[restart if isinstance(restart, str) else DEFAULT_RESTART]
    signal, surge, order, overlap = said("stop_signal"), said("surge"), said("release_order"), said("overlap")
    return DynoRules(
        # A ladder comes with a jitter and a reset of its own: those said in a farther place belong to another ladder.
        restart=RestartPolicy(
            delays_s=policy.delays_s if isinstance(restart, str) else _delays(restart),
            jitter=seconds("restart_jitter", policy.jitter, at + 1),
            reset_after_s=seconds("restart_reset_after_s", policy.reset_after_s, at + 1),
        ),
        boot_timeout_s=seconds("boot_timeout_s", BOOT_TIMEOUT_S),
        stop_signal=str(signal[1]) if signal is not None else STOP_SIGNAL,
        grace_s=seconds("grace_s", GRACE_S),
        cycle_s=seconds("cycle_s", 0.0),
        settle_s=seconds("settle_s", SETTLE_S),
        surge=int(surge[1]) if surge is not None and isinstance(surge[1], int) else SURGE,
        release_order=str(order[1]) if order is not None else "safe",
        overlap=overlap is not None and overlap[1] is True,
    )


def router_changes(layers: Sequence[Layer]) -> dict[str, Value]:
    """What the layers, nearest first, say of the router's knobs for this app."""
    changes: dict[str, Value] = {}
    for knob in ROUTER_KNOBS:
        found = next((layer[knob.name] for layer in layers if knob.name in layer), None)
        if found is not None:
            changes[knob.name] = found
    return changes


def masks_config_vars(layers: Sequence[Layer]) -> bool:
    """Whether the layers, nearest first, want the values of config vars to be hidden in the log: unsaid, no."""
    return _is_on("mask_config_vars", layers)


def logs_runtime_metrics(layers: Sequence[Layer]) -> bool:
    """Whether the layers, nearest first, want Heroku's log-runtime-metrics: unsaid, no."""
    return _is_on("log_runtime_metrics", layers)


def _is_on(name: str, layers: Sequence[Layer]) -> bool:
    return bool(next((layer[name] for layer in layers if name in layer), False))


def _places(process_type: str, layers: Sequence[Layer]) -> list[dict[str, Value]]:
    """Each layer twice: what it says of the type, then what it says of the app."""
    prefix = f"{process_type}."
    places: list[dict[str, Value]] = []
    for layer in layers:
        places.append({key.removeprefix(prefix): value for key, value in layer.items() if key.startswith(prefix)})
        places.append({key: value for key, value in layer.items() if "." not in key})
    return places


def _delays(value: Value) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else ()


def _layer(
    entries: Iterable[tuple[str, object]], knobs: Mapping[str, Knob], known: Collection[str], *, from_text: bool
) -> tuple[Layer, tuple[str, ...]]:
    layer: dict[str, Value] = {}
    faults = []
    for key, found in entries:
        value, fault = _read(key, found, knobs, known, from_text=from_text)
        if value is None:
            faults.append(fault)
        else:
            layer[key] = value
    return layer, tuple(faults)


def _flat(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, entry in table.items():
        if isinstance(entry, Mapping):
            yield from ((f"{name}.{key}", value) for key, value in entry.items())
        else:
            yield name, entry


def _read(
    key: str, found: object, knobs: Mapping[str, Knob], known: Collection[str], *, from_text: bool
) -> tuple[Value | None, str]:
    """The value, or None and what is wrong."""
    fault = _key_fault(key, knobs, known)
    if fault:
        return None, fault
    kind = knobs[key.rpartition(".")[2]].kind
    value = kind.parse(str(found)) if from_text else kind.fit(found)
    return value, "" if value is not None else f"{key}: expected {kind.expected}, found {as_written(found)}"


def _key_fault(key: str, knobs: Mapping[str, Knob], known: Collection[str] = ()) -> str:
    process_type, dot, name = key.rpartition(".")
    if dot and name in known:
        return f"{printable(key)}: this is a setting of dynod, not of a process type: write {name}"
    if name not in knobs:
        return f"{printable(key)}: no such setting{did_you_mean(name, (*knobs, *known))}"
    if dot and not _PROCESS_TYPE.fullmatch(process_type):
        return f"{printable(key)}: expected a process type before the dot, found {quoted(process_type)}"
    if dot and not knobs[name].per_type:
        return f"{key}: this is a setting of the app, not of a process type: write {name}"
    return ""


def as_written(found: object) -> str:
    """What was found instead, as a person would recognise it."""
    match found:
        case str():
            return quoted(found)
        case bool():
            return "true" if found else "false"
        case int() | float():
            return str(found)
        case list() | tuple():
            return quoted("[" + ", ".join(as_written(item) for item in found) + "]").strip('"')
        case Mapping():
            return "a table"
        case _:
            return quoted(str(found))


def printable(key: str) -> str:
    """A key of the user's in a message: as it is, unless something in it cannot be seen."""
    return quoted(key).strip('"')
