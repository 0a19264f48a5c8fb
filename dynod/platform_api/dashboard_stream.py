"""`/dynod/dashboard/stream`: what the dashboard shows, as Server-Sent Events, every two seconds.

Flow: figures, traffic history → **picture** → page. `picture`: every app at a glance, and one of them dyno by dyno;
`cells`: that one's traffic of the last hour, then what is new of it. A stream ends after five minutes and is asked for
again, so that a session that is over, or whose token was revoked, is not looked through for longer.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

from aiohttp import web

from dynod import __version__
from dynod.app_figures import AppFigures, DynoFigures, figures_of
from dynod.core.traffic import DynoTraffic, quantile_ms
from dynod.core.traffic_history import CELL_S, HOUR_S, Cell, Recent, TrafficHistory
from dynod.operations import RunningApp
from dynod.platform_api.exchange import operations
from dynod.platform_api.peer import Caller, caller
from dynod.platform_api.serializers import Json
from dynod.platform_api.stats import TRAFFIC, Entry, last_trouble
from dynod.platform_api.streams import PAGE_STREAM_S, Streams, answer_stream

EVERY_S: Final = 2.0
MOST_VIEWERS: Final = 32  # pages, each in a tab that somebody looks at
PATIENCE_S: Final = 10.0  # a page that has not taken a picture for so long is let go of, and counted
EVENT_STREAM: Final = "text/event-stream"

Histories = Callable[[RunningApp], TrafficHistory]
HISTORIES: Final[web.AppKey[Histories | None]] = web.AppKey("histories")
VIEWERS: Final = web.AppKey("viewers", Streams)

routes = web.RouteTableDef()


@routes.get("/dynod/dashboard/stream", allow_head=False)
async def stream(request: web.Request) -> web.StreamResponse:
    """Figures of every app, and with `app=NAME` of that one's dynos and its last hour."""
    return await answer_stream(
        request,
        request.path,
        _events(request, request.query.get("app")),
        streams=request.app[VIEWERS],
        content_type=EVENT_STREAM,
    )


async def _events(request: web.Request, chosen: str | None) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    ends_at, last, drawn = clock() + PAGE_STREAM_S, -1, ""
    while clock() < ends_at:
        apps = _visible(request, caller(request))
        found = next((app for app in apps if chosen in {app.name, app.id}), None)
        yield event("picture", _picture(request, apps, found, clock()))
        history = _history(request, found) if found is not None else None
        if history is None or found is None or found.id != drawn:
            last, drawn = -1, found.id if found is not None else ""
        if history is not None:
            new = tuple(history.cells(after=max(last, 0)))
            if new or last < 0:
                yield event("cells", cells_document(history, new, now=clock(), whole=last < 0))
                last = new[-1].number if new else 0
        await asyncio.sleep(EVERY_S)


def event(name: str, document: Json) -> bytes:
    """One event. JSON has no line breaks of its own."""
    return f"event: {name}\ndata: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


def cells_document(history: TrafficHistory, cells: Iterable[Cell], *, now: float, whole: bool) -> Json:
    """By age, since a page's clock is another one. `whole`: what there was before is to be forgotten."""
    return {
        "whole": whole,
        "cell_s": CELL_S,
        "known_s": round(min(now - history.began_at, HOUR_S), 1),
        "cells": [
            [
                round(now - cell.ended_at, 1),
                round(cell.requests / cell.seconds, 2),
                round(cell.failed / cell.seconds, 2),
                _rounded(cell.p50_ms),
                _rounded(cell.p95_ms),
            ]
            for cell in cells
        ],
    }


def app_document(figures: AppFigures, recent: Recent, last: Entry | None) -> Json:
    """An app at a glance. `last`: what went wrong last."""
    dynos = figures.dynos
    return {
        "name": figures.name,
        "release": figures.release,
        "maintenance": figures.maintenance,
        "formation": dict(figures.wanted),
        "one_off_dynos": figures.one_offs,
        "states": dict(Counter(dyno.state.value for dyno in dynos)),
        "cpu": _sum(dyno.cpu_share for dyno in dynos),
        "memory": _sum(dyno.memory for dyno in dynos),
        "last": _trouble(last),
        **traffic_document(recent.whole, recent.seconds),
    }


def dyno_document(dyno: DynoFigures, recent: Recent, last: Entry | None) -> Json:
    """One dyno."""
    traffic = recent.by_dyno.get(dyno.name)
    return {
        "name": dyno.name,
        "state": dyno.state.value,
        "up_s": round(dyno.up_s) if dyno.up_s is not None else None,
        "restarts": sum(dyno.restarts.values()),
        "cpu": round(dyno.cpu_share, 3) if dyno.cpu_share is not None else None,
        "memory": dyno.memory,
        "quota": dyno.quota,
        "last": _trouble(last),
        **(traffic_document(traffic, recent.seconds) if traffic is not None else {}),
    }


def traffic_document(traffic: DynoTraffic, seconds: float) -> Json:
    """Rates and times."""
    return {
        "rps": round(traffic.requests / seconds, 2),
        "failed": round(traffic.failed / seconds, 2),
        "in_flight": traffic.in_flight,
        **{
            name: _rounded(quantile_ms(traffic.buckets, share))
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        },
    }


def _trouble(entry: Entry | None) -> Json | None:
    return {"at": round(entry.at), "what": entry.what} if entry is not None else None


def _sum(values: Iterable[float | None]) -> float | None:
    """None where nothing is known."""
    known = [value for value in values if value is not None]
    return round(sum(known), 3) if known else None


def _rounded(value: float | None) -> float | None:
    return round(value, 1) if value is not None else None


def _visible(request: web.Request, who: Caller) -> list[RunningApp]:
    verbs = operations(request)
    return [verbs.find(view.id) for view in verbs.apps() if who.sees(view.id)]


def _releases(app: RunningApp) -> list[int]:
    """The live one and those on their way: where that has changed, the page asks for the list once more."""
    found = app.releases
    if found is None:
        return []
    return [each.version for each in (found.current, *found.pending) if each is not None]


def _history(request: web.Request, app: RunningApp) -> TrafficHistory | None:
    histories = request.app[HISTORIES]
    return histories(app) if histories is not None else None


def _picture(request: web.Request, apps: Sequence[RunningApp], chosen: RunningApp | None, now: float) -> Json:
    documents, whole = [], None
    for app in apps:
        history = _history(request, app)
        counters = request.app[TRAFFIC](app)
        recent = history.recent(now, counters) if history is not None else Recent(seconds=1.0, by_dyno={})
        figures = figures_of(app, now=now)
        troubles = {slot.name: last_trouble(slot.log.history) for slot in app.supervisor.slots}
        newest = max((trouble for trouble in troubles.values() if trouble), default=None, key=lambda each: each.at)
        documents.append({**app_document(figures, recent, newest), "releases": _releases(app)})
        if app is chosen:
            whole = [dyno_document(dyno, recent, troubles.get(dyno.name)) for dyno in figures.dynos]
    return {
        "at": round(time.time(), 1),
        "version": __version__,
        "user": str(caller(request).asker),
        "dropped": request.app[VIEWERS].dropped,
        "apps": documents,
        "app": chosen.name if chosen is not None else None,
        "dynos": whole,
    }
