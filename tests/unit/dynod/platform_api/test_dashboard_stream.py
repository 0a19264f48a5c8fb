"""What the dashboard is sent: figures in the form that its page reads, and no more of the past than it lacks."""

import json

from dynod.app_figures import AppFigures, DynoFigures
from dynod.app_logs import LogVolume
from dynod.core.dyno import RestartCause, SlotState
from dynod.core.traffic import BOUNDS_MS, DynoTraffic
from dynod.core.traffic_history import Recent, TrafficHistory
from dynod.platform_api.dashboard_stream import app_document, cells_document, dyno_document, event
from dynod.process.slot_log import Happening

PASSED = DynoTraffic(requests=20, failed=5, buckets=(0, 20, *(0,) * (len(BOUNDS_MS) - 1)), in_flight=3)


def dyno(name: str, state: SlotState, *, memory: int | None = None) -> DynoFigures:
    return DynoFigures(
        name=name,
        process_type=name.partition(".")[0],
        state=state,
        restarts={RestartCause.CRASH: 2},
        up_s=61.4 if state is SlotState.UP else None,
        address=None,
        memory=memory,
        quota=None,
        cpu_s=None,
        cpu_share=0.25 if memory is not None else None,
        processes=None,
        release=7,
    )


def test_an_app_and_its_dynos() -> None:
    web, worker = dyno("web.1", SlotState.UP, memory=1000), dyno("worker.1", SlotState.CRASHED)
    app = AppFigures(
        id="1",
        name="shop",
        maintenance=False,
        wanted={"web": 1, "worker": 1},
        dynos=[web, worker],
        one_offs=1,
        boots={},
        log=LogVolume(0, 0, 0),
        drains=[],
        release=7,
    )
    recent = Recent(seconds=10.0, by_dyno={"web.1": PASSED, "": PASSED})
    found = app_document(app, recent, Happening(at=12.3, what="Cause: it is broken"))
    assert found["states"] == {"up": 1, "crashed": 1}
    assert (found["rps"], found["failed"], found["in_flight"]) == (4.0, 1.0, 6)
    assert (found["cpu"], found["memory"]) == (0.25, 1000)
    assert found["last"] == {"at": 12, "what": "Cause: it is broken"}
    row = dyno_document(web, recent, None)
    assert (row["rps"], row["up_s"], row["restarts"], row["last"]) == (2.0, 61, 2, None)
    assert "rps" not in dyno_document(worker, recent, None), "the router knows nothing of it"


def test_cells_are_told_by_age_and_once() -> None:
    history = TrafficHistory(0.0, {})
    history.note(10.0, {"web.1": PASSED})
    history.note(20.0, {"web.1": PASSED})
    found = cells_document(history, history.cells(), now=25.0, whole=True)
    assert found == {
        "whole": True,
        "cell_s": 10.0,
        "known_s": 25.0,
        "cells": [[15.0, 2.0, 0.5, 1.8, 2.4]],
    }
    assert cells_document(history, history.cells(after=1), now=25.0, whole=False)["cells"] == []


def test_an_event_is_one_whatever_it_says() -> None:
    name, data, *rest = event("picture", {"what": "a\n\ndata: b\r\u2028"}).decode().split("\n")
    assert (name, rest) == ("event: picture", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {"what": "a\n\ndata: b\r\u2028"}
