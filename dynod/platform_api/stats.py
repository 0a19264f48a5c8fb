"""`/apps/:app/stats` and `/dynod/stats`: apps in figures, for `dynod top`.

They are counters, so that whoever asks twice can subtract. What is behind it is read, not measured: asking costs
little, and a token's calls are counted as all others.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from aiohttp import web

from dynod.app_figures import AppFigures, DynoFigures, figures_of
from dynod.core.failure_cause import PREFIX
from dynod.core.traffic import DynoTraffic
from dynod.operations import RunningApp
from dynod.platform_api.exchange import answer, operations
from dynod.platform_api.peer import caller
from dynod.platform_api.serializers import Json

Traffic = Callable[[RunningApp], Mapping[str, DynoTraffic]]
TRAFFIC: Final[web.AppKey[Traffic]] = web.AppKey("traffic")
WRONG: Final = (PREFIX, "Error R", "process exited", "liveness")  # entries of a history that tell of trouble
# What a dyno does that is stopped, or replaced by a release; where it was not to end, a cause is in the history, too.
ORDERLY: Final = frozenset({"process exited with status 0", "process exited with status 143"})

routes = web.RouteTableDef()


class Entry(Protocol):
    """An entry of a dyno's history."""

    @property
    def at(self) -> float: ...  # seconds since the epoch
    @property
    def what(self) -> str: ...


@routes.get("/apps/{app}/stats")
async def stats(request: web.Request) -> web.Response:
    """States, restarts, memory, CPU, and what passed through the router, by dyno."""
    return answer(_of(operations(request).find(request.match_info["app"]), request.app[TRAFFIC]))


@routes.get("/dynod/stats")
async def all_stats(request: web.Request) -> web.Response:
    """The same of every app that whoever asks may see."""
    who, found = caller(request), operations(request)
    apps = [found.find(view.id) for view in found.apps() if who.sees(view.id)]
    return answer({"apps": [_of(app, request.app[TRAFFIC]) for app in apps]})


def _of(app: RunningApp, traffic: Traffic) -> Json:
    figures = figures_of(app, now=asyncio.get_running_loop().time())
    troubles = {slot.name: last_trouble(slot.log.history) for slot in app.supervisor.slots}
    last = {name: entry.what for name, entry in troubles.items() if entry is not None}
    return document(figures, traffic(app), last)


def document(app: AppFigures, traffic: Mapping[str, DynoTraffic], last: Mapping[str, str]) -> Json:
    """As it is answered. `last`: by dyno, what its history says last."""
    return {
        "app": {"id": app.id, "name": app.name},
        "maintenance": app.maintenance,
        "release": app.release,
        "formation": dict(app.wanted),
        "one_off_dynos": app.one_offs,
        "log_lines": app.log.lines,
        "dynos": [_dyno(dyno, traffic.get(dyno.name), last.get(dyno.name, "")) for dyno in app.dynos],
        "undelivered": _traffic(traffic.get("")),
    }


def _dyno(dyno: DynoFigures, traffic: DynoTraffic | None, last: str) -> Json:
    return {
        "name": dyno.name,
        "type": dyno.process_type,
        "state": dyno.state.value,
        "up_s": round(dyno.up_s, 1) if dyno.up_s is not None else None,
        "restarts": sum(dyno.restarts.values()),
        "memory": dyno.memory,
        "quota": dyno.quota,
        "cpu_share": round(dyno.cpu_share, 3) if dyno.cpu_share is not None else None,
        "processes": dyno.processes,
        "traffic": _traffic(traffic),
        "last": last,
    }


def _traffic(traffic: DynoTraffic | None) -> Json | None:
    if traffic is None:
        return None
    return {
        "requests": traffic.requests,
        "failed": traffic.failed,
        "buckets": list(traffic.buckets),
        "in_flight": traffic.in_flight,
    }


def last_trouble(history: Iterable[Entry]) -> Entry | None:
    """What went wrong last, where something did; a start or a change of scale is no news in a table."""
    wrong = [entry for entry in history if entry.what.startswith(WRONG) and entry.what not in ORDERLY]
    return wrong[-1] if wrong else None
