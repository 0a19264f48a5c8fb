"""The router's numbers: labels, what two instances of one dyno add up to, and what is forgotten when."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from router.core.codes import Code
from router.core.request_record import RequestRecord
from router.metrics import KEPT_S, RouterMetrics


class World:
    """What a router would say of itself: its backends and apps, and the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.backends: list[tuple[str, str, int, int]] = []
        self.apps: list[tuple[str, int]] = []
        self.metrics = RouterMetrics(
            gauges=lambda: self.backends, queued=lambda: self.apps, connections=lambda: 3, clock=lambda: self.now
        )

    def ended(self, app: str, dyno: str = "", *, status: int = 200, code: Code | None = None) -> None:
        record = RequestRecord(app, b"GET", b"/", b"a", 0.0)
        record.dyno, record.status, record.attempts = dyno.encode(), status, 2
        if code is not None:
            record.fail(code)
        record.connect_ms, record.service_ms, record.total_ms, record.bytes_out = 0.0, 2.0, 3.0, 10
        self.metrics.count([record])

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """By the values of all labels, in the order of their names."""
        out = {}
        for family in text_string_to_metric_families(generate_latest(self.metrics.registry).decode()):
            for sample in family.samples:
                if sample.name == name:
                    key = tuple(sample.labels[label] for label in sorted(sample.labels))
                    assert key not in out, f"{name}{sample.labels} comes twice"
                    out[key] = sample.value
        return out


def test_every_number_of_a_dyno_has_its_process_type() -> None:
    world = World()
    world.apps, world.backends = [("shop", 1)], [("shop", "web.1", 2, 1)]
    world.ended("shop", "web.1")
    world.ended("shop", status=503, code=Code.APP_CRASHED)
    # app, code, dyno, process_type, status
    assert world.samples("dynod_router_requests_total") == {
        ("shop", "", "web.1", "web", "2xx"): 1,
        ("shop", "H10", "", "", "5xx"): 1,
    }
    for name in ("response_bytes_total", "request_body_bytes_total", "in_flight", "tunnels", "request_seconds_count"):
        assert ("shop", "web.1", "web") in world.samples(f"dynod_router_{name}"), name
    assert world.samples("dynod_router_queued") == {("shop",): 1}


def test_a_backend_that_is_no_dyno_is_its_own_type() -> None:
    world = World()
    world.backends = [("app", "api", 0, 0)]
    assert world.samples("dynod_router_in_flight") == {("app", "api", "api"): 0}


def test_two_instances_of_a_dyno_that_is_restarted_are_one_number() -> None:
    """Prometheus refuses a page on which a series comes twice."""
    world = World()
    world.apps, world.backends = [("shop", 0)], [("shop", "web.1", 2, 1), ("shop", "web.1", 3, 0)]
    assert world.samples("dynod_router_in_flight") == {("shop", "web.1", "web"): 5}
    assert world.samples("dynod_router_tunnels") == {("shop", "web.1", "web"): 1}


def test_the_numbers_of_a_dyno_stay_a_while_and_go_with_it() -> None:
    world = World()
    world.apps, world.backends = [("shop", 0)], [("shop", "web.1", 0, 0), ("shop", "web.2", 0, 0)]
    for dyno in ("web.1", "web.2", ""):
        world.ended("shop", dyno)
    world.backends.pop()
    world.now += KEPT_S
    assert len(world.samples("dynod_router_requests_total")) == 3
    world.now += 1.0
    everywhere = [
        ("shop", "", "", "", "2xx"),
        ("shop", "", "web.1", "web", "2xx"),
    ]
    assert sorted(world.samples("dynod_router_requests_total")) == everywhere
    assert ("shop", "web.2", "web") not in world.samples("dynod_router_request_seconds_count")
    assert world.samples("dynod_router_retries_total") == {("shop",): 3}
    world.backends, world.apps = [], []  # the app is destroyed
    assert world.samples("dynod_router_requests_total") == {}
    assert world.samples("dynod_router_retries_total") == {}


def test_a_dyno_that_serves_again_counts_on() -> None:
    world = World()
    world.apps, world.backends = [("shop", 0)], [("shop", "web.1", 0, 0)]
    for _ in range(3):
        world.ended("shop", "web.1")
        world.now += KEPT_S * 2
        assert world.samples("dynod_router_requests_total")
    assert world.samples("dynod_router_requests_total") == {("shop", "", "web.1", "web", "2xx"): 3}


def test_a_request_in_whose_batch_others_are_forgotten_is_counted() -> None:
    world = World()
    world.apps, world.backends = [("shop", 0)], [("shop", "web.1", 0, 0)]
    world.ended("shop", "web.9")
    world.now += KEPT_S + 1.0
    world.ended("shop", "web.1")
    world.ended("shop", "web.1")
    assert world.samples("dynod_router_requests_total") == {("shop", "", "web.1", "web", "2xx"): 2}


def test_totals_of_an_app_are_its_own_by_dyno_whatever_their_status() -> None:
    world = World()
    for status in (200, 404, 503):
        world.ended("shop", "web.1", status=status)
    world.ended("shop", "web.2")
    world.ended("shop", status=503, code=Code.APP_CRASHED)
    world.ended("blog", "web.1")
    found = world.metrics.totals("shop")
    assert {name: (each.requests, each.failed) for name, each in found.items()} == {
        "web.1": (3, 1),
        "web.2": (1, 0),
        "": (1, 1),
    }
    assert {name: sum(each.buckets) for name, each in found.items()} == {"web.1": 3, "web.2": 1, "": 1}
    assert world.metrics.totals("nobody") == {}


def test_apps_that_come_and_go_take_no_room_although_nobody_scrapes() -> None:
    world = World()
    for number in range(500):
        world.apps, world.backends = [(f"app{number}", 0)], [(f"app{number}", "web.1", 0, 0)]
        world.ended(f"app{number}", "web.1")
        world.now += KEPT_S / 4
    assert len(world.metrics._series) <= 10
    assert len(world.metrics._timings) <= 10
    assert len(world.metrics._retries) <= 10
