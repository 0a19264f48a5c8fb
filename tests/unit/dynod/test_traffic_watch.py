"""The dashboard's hour of traffic over a change of cores: real notes, with apps and counters as a test says."""

from typing import TYPE_CHECKING, cast

from dynod.core.traffic import BOUNDS_MS, DynoTraffic
from dynod.core.traffic_history import CELL_S, MINUTE_CELLS, Cell
from dynod.kept_traffic import TRAFFIC, KeptTraffic
from dynod.traffic_watch import TrafficWatch

if TYPE_CHECKING:
    from dynod.operations import Operations, RunningApp


class App:
    """Of a running app, what is looked at; `requests` as its core's router counts them."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.requests = 0


class Verbs:
    """Of the operations, what is called."""

    def __init__(self, *ids: str) -> None:
        self.by_id = {id_: App(id_) for id_ in ids}

    def apps(self) -> list[App]:
        return list(self.by_id.values())

    def find(self, ref: str) -> App:
        return self.by_id[ref]


class Machine:
    """A keeper's notes, and one core after the other."""

    def __init__(self, *ids: str) -> None:
        self.now = 1000.0
        self.stored: dict[str, str] = {"serve": "another's"}
        self.puts: list[str] = []
        self.next_core(*ids)

    def next_core(self, *ids: str) -> None:
        self.verbs = Verbs(*ids)
        self.watch = TrafficWatch(
            cast("Operations", self.verbs),
            lambda app: {"web.1": counted(cast("App", app).requests)},
            clock=lambda: self.now,
            notes=KeptTraffic(dict(self.stored), self.put),
        )
        self.watch.look()

    def put(self, key: str, value: str | None) -> None:
        self.puts.append(key)
        if value is None:
            self.stored.pop(key, None)
        else:
            self.stored[key] = value

    def minute(self, app: str, *, requests: int) -> None:
        """So many every ten seconds."""
        for _ in range(MINUTE_CELLS):
            self.verbs.find(app).requests += requests
            self.now += CELL_S
            self.watch.look()

    def cells(self, app: str) -> list[Cell]:
        return list(self.watch.of(cast("RunningApp", self.verbs.find(app))).cells())


def counted(requests: int) -> DynoTraffic:
    buckets = (requests, *(0,) * len(BOUNDS_MS))
    return DynoTraffic(requests=requests, failed=0, buckets=buckets, in_flight=0)


def test_the_next_core_draws_what_the_one_before_has_seen() -> None:
    machine = Machine("shop", "blog")
    machine.minute("shop", requests=5)
    before = machine.cells("shop")
    machine.next_core("shop", "blog")
    assert [(cell.ended_at, cell.requests / cell.seconds) for cell in machine.cells("shop")] == [
        (cell.ended_at, cell.requests / cell.seconds) for cell in before
    ]
    assert machine.watch.of(cast("RunningApp", machine.verbs.find("blog"))).began_at == 1000.0
    machine.minute("shop", requests=7)
    machine.next_core("shop", "blog")
    assert [cell.requests for cell in machine.cells("shop")] == [30] * 6 + [42] * 6


def test_only_an_app_that_is_asked_for_something_is_written_down_each_minute() -> None:
    machine = Machine("shop", "blog")
    machine.puts.clear()
    for _ in range(10):
        machine.minute("shop", requests=1)
    assert machine.puts == [f"{TRAFFIC}shop"] * 10
    for _ in range(100):
        machine.minute("shop", requests=1)
    assert len(machine.stored[f"{TRAFFIC}shop"]) < 4096


def test_an_app_that_is_gone_leaves_nothing() -> None:
    machine = Machine("shop", "blog")
    machine.minute("shop", requests=1)
    machine.next_core("blog")  # it went while no core was there
    machine.verbs.by_id.clear()
    machine.watch.look()
    assert machine.stored == {"serve": "another's"}


def test_a_note_that_another_version_has_written_is_none() -> None:
    machine = Machine("shop")
    machine.stored |= {f"{TRAFFIC}shop": '{"since": 3}', f"{TRAFFIC}blog": '{"began_at": 1, "minutes": [[1, 2]]}'}
    assert KeptTraffic(machine.stored, machine.put).found() == {}
    machine.next_core("shop")
    assert machine.cells("shop") == []
