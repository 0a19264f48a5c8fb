"""How a daemon does, in one value: what it is, where it listens, what runs, what it cannot do here, what is in trouble.

Facts come from the composition root, counts from the operations. Read only; may import operations, psutil.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dynod import __version__
from dynod.core.disk_contents import low
from dynod.keeper.features import Features
from dynod.operations import Operations


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonFacts:
    """What does not change while it runs. `verb`: `serve` or `up`; `state`: its folder, "" for none."""

    verb: str
    listeners: Sequence[str]  # addresses of the router
    api: str | None  # over TCP
    control: str
    state: str
    lacks: Sequence[str]  # sentences
    held: bool = False  # restored from a backup: no dyno starts by itself until `serve --start`
    refused: Callable[[], int]  # calls that the store has refused


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """A moment's."""

    version: str
    pid: int  # of the keeper, which is dynod to everybody else
    since: datetime
    facts: DaemonFacts
    apps: int
    dynos: Mapping[str, int]  # by state
    store_refused: int
    troubles: Sequence[str]  # drains that fail, apps in maintenance, a disk that is full


def status_of(operations: Operations, facts: DaemonFacts) -> DaemonStatus:
    """As it is now."""
    import psutil  # noqa: PLC0415 (8 ms of a start, for whoever asks)

    apps = operations.apps()
    states = Counter(dyno.state.value for app in apps for dyno in operations.dynos(app.id))
    return DaemonStatus(
        version=__version__,
        pid=os.getppid(),
        since=datetime.fromtimestamp(psutil.Process(os.getppid()).create_time(), UTC),
        facts=facts,
        apps=len(apps),
        dynos=dict(sorted(states.items())),
        store_refused=facts.refused(),
        troubles=[
            *(trouble for app in apps for trouble in _troubles(operations, app.id, app.name)),
            *_disk(facts.state),
        ],
    )


def lacks(features: Features, *, groups: bool) -> list[str]:
    """What this machine, or this user on it, does not allow."""
    found = []
    if not groups:
        found.append(
            "dynos have no control groups: what belongs to one, and what it uses, is told by the table of processes"
        )
    if not features.subreaper:
        found.append("orphans of dynos are not adopted: some may be found late")
    if not features.tee:
        found.append("output is held in memory: a core that is killed loses what it had not written")
    return found


def _disk(state: str) -> list[str]:
    if not state:
        return []
    try:
        disk = os.statvfs(state)
    except OSError as error:
        return [f"the disk of {state} cannot be looked at: {error.strerror}"]
    told = low(free=disk.f_bavail * disk.f_frsize, total=disk.f_blocks * disk.f_frsize)
    return [f"the disk of {state} is nearly full: {told}"] if told else []


def _troubles(operations: Operations, app_id: str, name: str) -> list[str]:
    found = [f"{name} is in maintenance mode"] if operations.app(app_id).maintenance else []
    for state in operations.logs(app_id).drains():
        if state.health is None:
            found.append(f"{name}: the drain {state.record.url.shown} does not run")
        elif state.health.failures:
            found.append(f"{name}: the drain {state.record.url.shown} fails: {state.health.last_error}")
    return found
