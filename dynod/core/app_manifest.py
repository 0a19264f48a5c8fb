"""app.json: what Heroku's and dokku's keys say, as values, and every fault in them.

The keys that dynod uses are checked to the last type, all at once; others are tolerated, as Heroku tolerates them.
Nothing is added to the two vocabularies (contracts, "Finding things"). Pure: text in, values and faults out. Checked by
hand and not by a schema library, because those stop at the first fault and do not say in which line it stands.

Sources: Dev Center "app.json Schema"; dokku "Zero Downtime Deploys" (healthchecks), "Scheduled Cron Tasks" (cron).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dynod.core.dotenv import NAME
from dynod.core.fault import Fault, quoted
from dynod.core.json_lines import Path, places_in
from dynod.core.json_reading import Json, JsonReading, kind_of

LARGEST_QUANTITY: Final = 500  # as formation.MOST_DYNOS
HEALTHCHECK_TYPES: Final = ("startup", "liveness", "readiness")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestVariable:
    """One entry of `env`. `generated`: dynod makes up a secret (`"generator": "secret"`); required by default."""

    value: str | None = None
    required: bool = True
    generated: bool = False
    description: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Addon:
    """An add-on that the app asks for: `heroku-redis:mini`, and the name its config vars get."""

    plan: str
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """One of dokku's healthchecks of a process type, with dokku's defaults. Times are seconds."""

    kind: str
    name: str = ""
    path: str | None = None
    port: int | None = None
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = ()
    content: str | None = None
    command: tuple[str, ...] = ()
    listening: bool = False
    uptime_s: int | None = None
    attempts: int = 3
    timeout_s: int = 5
    wait_s: int = 5
    initial_delay_s: int = 0
    warn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CronTask:
    """One of dokku's cron entries: a schedule in cron's five fields (or @daily …) and what runs."""

    schedule: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AppManifest:
    """app.json, empty where there is none. `file` is how messages name it."""

    file: str = "app.json"
    name: str | None = None
    quantities: Mapping[str, int] = field(default_factory=dict)
    quantity_lines: Mapping[str, int | None] = field(default_factory=dict)
    env: Mapping[str, ManifestVariable] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    buildpacks: tuple[str, ...] = ()
    addons: tuple[Addon, ...] = ()
    healthchecks: Mapping[str, tuple[Healthcheck, ...]] = field(default_factory=dict)
    cron: tuple[CronTask, ...] = ()
    faults: tuple[Fault, ...] = ()


def parse_app_manifest(text: str, *, file: str = "app.json") -> AppManifest:
    """Read a whole app.json. Never raises; what is faulty is left out of the result and named in `faults`."""
    text = text.removeprefix("\ufeff")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {_lower_first(error.msg)} (column {error.colno})"
        return AppManifest(file=file, faults=(Fault(file=file, line=error.lineno, message=message),))
    except (ValueError, RecursionError):  # a number of thousands of digits; thousands of brackets
        return AppManifest(file=file, faults=(Fault(file=file, line=None, message="not JSON that can be read"),))
    if not isinstance(document, dict):
        message = f"expected an object, found {kind_of(document)}"
        return AppManifest(file=file, faults=(Fault(file=file, line=1, message=message),))
    return _manifest(JsonReading(file, places_in(text)), document, file=file)


def _manifest(reading: JsonReading, document: Json, *, file: str) -> AppManifest:
    quantities = _quantities(reading, document)
    return AppManifest(
        file=file,
        name=reading.text(document, (), "name"),
        quantities=quantities,
        quantity_lines={name: reading.line(("formation", name)) for name in quantities},
        env=_env(reading, document),
        scripts=_scripts(reading, document),
        buildpacks=_buildpacks(reading, document),
        addons=_addons(reading, document),
        healthchecks=_healthchecks(reading, document),
        cron=_cron(reading, document),
        faults=reading.faults,  # evaluated last: complete by now
    )


def _quantities(reading: JsonReading, document: Json) -> dict[str, int]:
    quantities = {}
    for path, entry in reading.objects(document, "formation"):
        quantity = reading.number(entry, path, "quantity", most=LARGEST_QUANTITY)
        if quantity is not None:
            quantities[str(path[-1])] = quantity
    return quantities


def _env(reading: JsonReading, document: Json) -> dict[str, ManifestVariable]:
    variables = {}
    for path, entry in reading.members(document, "env"):
        name, line = str(path[-1]), reading.line(path)
        if not NAME.fullmatch(name):
            reading.fault(
                path, f'{quoted(name)} is no variable name: letters, digits and "_", not starting with a digit'
            )
        elif isinstance(entry, str):
            variables[name] = ManifestVariable(value=reading.without_nul(entry, path), line=line)
        elif isinstance(entry, dict):
            generator = reading.text(entry, path, "generator")
            if generator not in {None, "secret"}:
                reading.fault((*path, "generator"), f'expected "secret", found {quoted(str(generator))}')
            value = reading.text(entry, path, "value")
            variables[name] = ManifestVariable(
                value=None if value is None else reading.without_nul(value, (*path, "value")),
                required=reading.flag(entry, path, "required", default=True),
                generated="generator" in entry,
                description=reading.text(entry, path, "description") or "",
                line=line,
            )
        else:
            hint = "; write it in quotes" if isinstance(entry, (bool, int, float)) else ""
            reading.fault(path, f"expected a string or an object, found {kind_of(entry)}{hint}")
    return variables


def _scripts(reading: JsonReading, document: Json) -> dict[str, str]:
    scripts = {}
    for path, entry in reading.members(document, "scripts"):
        if isinstance(entry, str):
            scripts[str(path[-1])] = entry
        elif path[-1] == "dokku" and isinstance(entry, dict):  # dokku's own: scripts.dokku.predeploy
            scripts.update(
                {f"dokku.{name}": text for name in entry if (text := reading.text(entry, path, name)) is not None}
            )
        else:
            reading.expected(path, str, entry)
    return scripts


def _buildpacks(reading: JsonReading, document: Json) -> tuple[str, ...]:
    found = []
    for path, entry in reading.elements(document, (), "buildpacks"):
        if not isinstance(entry, dict):
            reading.expected(path, dict, entry)
        elif (url := reading.text(entry, path, "url", required=True)) is not None:
            found.append(url)
    return tuple(found)


def _addons(reading: JsonReading, document: Json) -> tuple[Addon, ...]:
    found = []
    for path, entry in reading.elements(document, (), "addons"):
        if isinstance(entry, str):
            found.append(Addon(plan=entry))
        elif not isinstance(entry, dict):
            reading.fault(path, f"expected a string or an object, found {kind_of(entry)}")
        elif (plan := reading.text(entry, path, "plan", required=True)) is not None:
            found.append(Addon(plan=plan, name=reading.text(entry, path, "as")))
    return tuple(found)


def _healthchecks(reading: JsonReading, document: Json) -> dict[str, tuple[Healthcheck, ...]]:
    by_type = {}
    for path, checks in reading.members(document, "healthchecks"):
        if not isinstance(checks, list):
            reading.expected(path, list, checks)
            continue
        found = []
        for index, entry in enumerate(checks):
            if isinstance(entry, dict):
                found.append(_healthcheck(reading, entry, (*path, index)))
            else:
                reading.expected((*path, index), dict, entry)
        by_type[str(path[-1])] = tuple(found)
    return by_type


def _healthcheck(reading: JsonReading, entry: Json, path: Path) -> Healthcheck:
    kind = reading.text(entry, path, "type", required=True) or HEALTHCHECK_TYPES[0]
    if kind not in HEALTHCHECK_TYPES:
        reading.fault((*path, "type"), f"expected one of {', '.join(HEALTHCHECK_TYPES)}, found {quoted(kind)}")
    headers = []
    for at, header in reading.elements(entry, path, "httpHeaders"):
        if not isinstance(header, dict):
            reading.expected(at, dict, header)
            continue
        name, value = reading.text(header, at, "name", required=True), reading.text(header, at, "value", required=True)
        if name is not None and value is not None:
            headers.append((name, value))
    return Healthcheck(
        kind=kind,
        name=reading.text(entry, path, "name") or "",
        path=reading.text(entry, path, "path"),
        port=reading.number(entry, path, "port", least=1, most=65535),
        scheme=reading.text(entry, path, "scheme") or "http",
        headers=tuple(headers),
        content=reading.text(entry, path, "content"),
        command=reading.texts(entry, path, "command"),
        listening=reading.flag(entry, path, "listening", default=False),
        uptime_s=reading.number(entry, path, "uptime"),
        attempts=reading.number(entry, path, "attempts", default=3, least=1) or 3,
        timeout_s=reading.number(entry, path, "timeout", default=5, least=1) or 5,
        wait_s=reading.number(entry, path, "wait", default=5) or 0,
        initial_delay_s=reading.number(entry, path, "initialDelay", default=0) or 0,
        warn=reading.flag(entry, path, "warn", default=False),
    )


def _cron(reading: JsonReading, document: Json) -> tuple[CronTask, ...]:
    found = []
    for path, entry in reading.elements(document, (), "cron"):
        if not isinstance(entry, dict):
            reading.expected(path, dict, entry)
            continue
        schedule = reading.text(entry, path, "schedule", required=True)
        command = reading.text(entry, path, "command", required=True)
        if schedule is not None and command is not None:
            found.append(CronTask(schedule=schedule, command=command))
    return tuple(found)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
