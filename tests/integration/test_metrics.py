"""A real Prometheus scrapes a real `dynod serve`: series, discovery, the shipped rules, and a killed core."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.app_folder import app_folder, toy
from support.counts import rounds
from support.installed import program
from support.serve import Serve, ServedApp
from support.source_tree import REPOSITORY
from support.up import Up, clean_environment, eventually, free_port

pytestmark = pytest.mark.timeout(240)

TOKEN: Final = "a-token-of-some-length"
SCALINGS: Final = rounds(6, full=500)
RELEASES: Final = rounds(2, full=50)
EXPIRE_S: Final = rounds(0, full=700)  # the router keeps for ten minutes what it has counted of a dyno that is gone
SCALES: Final[Sequence[Mapping[str, int]]] = ({"web": 2}, {"worker": 3}, {"web": 3, "worker": 2})
SCALED: Final = frozenset({"web.2", "web.3", "worker.2", "worker.3"})
Series = set[tuple[str, tuple[tuple[str, str], ...]]]


class Metered:
    """A `dynod serve` with metrics, and its app."""

    def __init__(self, serve: Serve, shop: ServedApp, port: int) -> None:
        self.serve = serve
        self.shop = shop
        self.port = port

    def ask(self, path: str, *, token: str | None = TOKEN, host: str = "127.0.0.1") -> tuple[int, str]:
        return get(self.port, path, {"Host": host, **({"Authorization": f"Bearer {token}"} if token else {})})

    def value(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.ask("/metrics")[1]):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    def series(self) -> Series:
        families = text_string_to_metric_families(self.ask("/metrics")[1])
        return {(s.name, tuple(sorted(s.labels.items()))) for family in families for s in family.samples}


def get(port: int, path: str, headers: dict[str, str]) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def metered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metered]:
    folder = tmp_path_factory.mktemp("metrics")
    token = folder / "token"
    token.write_text(f"{TOKEN}\n")
    port = free_port()
    toml = f'[serve]\nmetrics = "127.0.0.1:{port}"\nmetrics_token_file = "{token}"\n[dynos]\nsettle_s = 0\n'
    with Serve(folder / "state", toml=toml) as serve:
        procfile = {"web": toy("web_server"), "worker": toy("waits")}
        shop = serve.app(folder, "shop", procfile=procfile, quantities={"web": 1, "worker": 1})
        shop.wait_until_up("web.1", "worker.1")
        yield Metered(serve, shop, port)


@contextmanager
def prometheus(metered: Metered, folder: Path) -> Iterator[int]:
    """The shipped scrape file and rules, at a pace for tests; yields the port of its API."""
    port = free_port()
    (folder / "token").write_text(TOKEN)
    config = (REPOSITORY / "config/prometheus/prometheus.yml").read_text()
    config = config.replace("15s", "1s").replace("127.0.0.1:9394", f"127.0.0.1:{metered.port}")
    token = f"authorization: {{type: Bearer, credentials_file: {folder / 'token'}}}"
    config = config.replace("    static_configs:", f"    {token}\n    static_configs:")
    config = config.replace("        refresh_interval:", f"        {token}\n        refresh_interval:")
    (folder / "prometheus.yml").write_text(config)
    (folder / "rules.yml").write_bytes((REPOSITORY / "config/prometheus/rules.yml").read_bytes())
    checked = subprocess.run([program("promtool"), "check", "config", str(folder / "prometheus.yml")], check=False)
    assert checked.returncode == 0
    child = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ],
        env=clean_environment() | {"GOMAXPROCS": "1"},
    )
    try:
        eventually(lambda: answers(port), what="Prometheus answers", timeout_s=60)
        yield port
    finally:
        child.terminate()
        child.wait(30)


def answers(port: int) -> bool:
    try:
        return get(port, "/-/ready", {})[0] == 200
    except OSError:
        return False


def asked(port: int, path: str, **parameters: str) -> Any:
    """What Prometheus' API answers; an error of a query is a status of its own."""
    status, text = get(port, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}", {})
    assert status == 200, text
    return json.loads(text)["data"]


def query(port: int, expression: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked(port, "query", query=expression)["result"]
    return found


def shown(port: int, expression: str) -> bool:
    """Whether a panel has a point to draw, in what Grafana asks for: a range; NaN is none."""
    now = time.time()
    found = asked(port, "query_range", query=expression, start=str(now - 30), end=str(now), step="1")
    return any(value != "NaN" for each in found["result"] for _, value in each["values"])


def as_grafana_asks(expression: str, apps: Iterable[str]) -> str:
    """With its variables filled in: all apps are chosen, and a rate is over four scrapes."""
    return expression.replace("$app", f"({'|'.join(apps)})").replace("$__rate_interval", "4s")


def firing(port: int) -> dict[str, set[str]]:
    """Alerts that fire, each with the dynos that it names."""
    found: dict[str, set[str]] = {}
    for each in query(port, 'ALERTS{alertstate="firing"}'):
        found.setdefault(each["metric"]["alertname"], set()).add(each["metric"].get("dyno", ""))
    return found


def test_prometheus_has_the_series_finds_the_dynos_and_fires_the_one_alert(metered: Metered, tmp_path: Path) -> None:
    assert metered.shop.get("/").status == 200
    with prometheus(metered, tmp_path) as port:
        restarts = 'dynod_dyno_restarts_total{app="shop",dyno="worker.1",reason="crash"}'
        eventually(
            lambda: len(query(port, f"{restarts}[5m]")) and query(port, f"count_over_time({restarts}[1m]) >= 2"),
            what="two scrapes",
            timeout_s=60,
        )
        (requests,) = query(port, 'dynod_router_requests_total{app="shop",dyno="web.1",status="2xx"}')
        assert float(requests["value"][1]) >= 1
        assert firing(port) == {}
        pid = metered.shop.pids()["worker.1"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: firing(port), what="an alert fires", timeout_s=60)
        metered.shop.wait_until_up("web.1", "worker.1")
        assert firing(port) == {"DynoCrashed": {"worker.1"}}
        apps_have_their_own_metrics(port)
        with socket.create_server(("127.0.0.1", 0)) as receiver:  # takes what fits into the kernel's buffers
            url = f"syslog://127.0.0.1:{receiver.getsockname()[1]}"
            with contextlib.closing(metered.serve.client) as client:
                drain = client.add_log_drain("shop", url)
                each_panel_of_the_dashboard_has_something_to_show(metered, port)
                client.remove_log_drain("shop", drain["id"])


def apps_have_their_own_metrics(port: int) -> None:
    """By http_sd and the shipped scrape file: each dyno is a target, with dynod's labels; a worker has no /metrics."""
    eventually(
        lambda: query(port, 'toy_requests_total{job="dynos",app="shop",process_type="web",dyno="web.1"} >= 2'),
        what="what the app itself counts",
        timeout_s=60,
    )
    (sample,) = query(port, "toy_requests_total")
    assert sample["metric"]["exported_dyno"] == "as the app calls it"
    up = {each["metric"]["dyno"]: each["value"][1] for each in query(port, 'up{job="dynos",app="shop"}')}
    assert up == {"web.1": "1", "worker.1": "0"}


def each_panel_of_the_dashboard_has_something_to_show(metered: Metered, port: int) -> None:
    """While an app is asked for something, a dyno has crashed, and there is a drain: no query of it is in vain."""
    dashboard = json.loads((REPOSITORY / "config/prometheus/grafana.json").read_text())
    apps: list[str] = []
    for variable in dashboard["templating"]["list"]:
        if found := re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]):
            apps = asked(port, f"label/{found[2]}/values", **{"match[]": found[1]})
    assert apps == ["shop"]
    queries = {
        f"{panel['title']}: {target['expr']}": as_grafana_asks(target["expr"], apps)
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }
    assert len(queries) > 15
    empty = set(queries)

    def all_shown() -> bool:
        metered.shop.get("/")
        empty.difference_update([name for name in empty if shown(port, queries[name])])
        return not empty

    with contextlib.suppress(AssertionError):  # the next one names them
        eventually(all_shown, what="each has data", timeout_s=60)
    assert empty == set()


def test_promtool_finds_nothing_wrong_with_names_and_rules(metered: Metered) -> None:
    for arguments, given in (
        (["check", "rules", str(REPOSITORY / "config/prometheus/rules.yml")], ""),
        (["check", "metrics"], metered.ask("/metrics")[1]),
    ):
        ended = subprocess.run(
            [program("promtool"), *arguments], input=given, capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr


def test_nobody_without_the_token_and_no_web_page_is_let_in(metered: Metered) -> None:
    for path in ("/metrics", "/sd/prometheus"):
        assert metered.ask(path)[0] == 200
        assert metered.ask(path, token=None)[0] == 401
        assert metered.ask(path, token="another-token-of-the-length")[0] == 401
        assert metered.ask(path, host="rebound.example")[0] == 403


@pytest.mark.timeout(rounds(240, full=7200))
def test_series_after_scalings_and_releases_are_those_from_before(metered: Metered) -> None:
    """Family by family. What the router has counted of dynos that are gone is all that stays, and for ten minutes."""
    shop = metered.shop
    has_usage = ("dynod_dyno_memory_bytes", "dynod_dyno_cpu_seconds_total", "dynod_dyno_processes")

    def sampled() -> bool:
        return all(metered.value(name, dyno=dyno) is not None for name in has_usage for dyno in ("web.1", "worker.1"))

    def answer(answered: set[str]) -> int:
        answered.add(shop.get("/").headers["X-Dyno"])
        return len(answered)

    def change(number: int) -> None:
        """Dynos come, each of type web is asked for something, and they go again."""
        counts = {"web": 1, "worker": 1, **SCALES[number % len(SCALES)]}
        shop.scale(*(f"{name}={count}" for name, count in counts.items()))
        shop.wait_until_up(*(f"{name}.{n + 1}" for name, count in counts.items() for n in range(count)))
        answered: set[str] = set()
        eventually(lambda: answer(answered) == counts["web"], what="each web dyno answers")
        shop.scale("web=1", "worker=1")
        shop.wait_until_up("web.1", "worker.1")

    # Once of each first: a core that has begun since, as other tests have it, has seen nobody boot.
    shop.wait_until_up("web.1", "worker.1")
    for number in range(len(SCALES)):
        change(number)
    metered.serve.done("config:set", "N=-1", "-a", "shop")
    shop.wait_until_up("web.1", "worker.1")
    eventually(sampled, what="every dyno has been looked at", timeout_s=60)
    first = without_gone(metered.series())
    for number in range(SCALINGS):
        change(number)
    for number in range(RELEASES):
        metered.serve.done("config:set", f"N={number}", "-a", "shop")
    shop.wait_until_up("web.1", "worker.1")
    eventually(sampled, what="every dyno has been looked at again", timeout_s=60)
    last = metered.series()
    stay = {name for name, labels in last - without_gone(last)}
    assert without_gone(last) == first
    assert stay <= {name for name, _ in last if name.startswith("dynod_router_")}
    assert not stay & {"dynod_router_in_flight", "dynod_router_tunnels"}
    if EXPIRE_S:
        eventually(lambda: metered.series() == first, what="what was counted of gone dynos goes", timeout_s=EXPIRE_S)
    print(f"{SCALINGS} scale-ups and downs, {RELEASES} releases; series of each family before, after, and at last:")
    ends = metered.series()
    for name, count in sorted(Counter(name for name, _ in first).items()):
        print(f"{name:50}{count:5}{_of(last, name):5}{_of(ends, name):5}")
    print(f"{'all':50}{len(first):5}{len(last):5}{len(ends):5}")


def without_gone(series: Series) -> Series:
    """Without those of dynos that only scaling up brings."""
    return {(name, labels) for name, labels in series if dict(labels).get("dyno") not in SCALED}


def _of(series: Series, name: str) -> int:
    return sum(found == name for found, _ in series)


def test_a_killed_core_answers_again_and_restarts_are_not_forgotten(metered: Metered) -> None:
    restarts = {"app": "shop", "dyno": "worker.1", "reason": "crash"}
    before = metered.value("dynod_dyno_restarts_total", **restarts)
    pid = metered.shop.pids()["worker.1"]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: metered.value("dynod_dyno_restarts_total", **restarts) == (before or 0) + 1, what="it is counted"
    )
    core = metered.serve.core_pid()
    os.kill(core, signal.SIGKILL)
    metered.serve.core_pid(other_than=core)
    assert (
        metered.value("dynod_dyno_restarts_total", **restarts) == (before or 0) + 1
    )  # waits in the backlog, not refused
    assert metered.ask("/metrics", token=None)[0] == 401


def test_up_has_metrics_too_and_refuses_a_port_that_is_taken(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server")})
    port = free_port()
    with Up(folder, "--metrics", f"127.0.0.1:{port}") as up:
        up.wait_for_line(rf"dynod: metrics on http://127\.0\.0\.1:{port}/metrics")
        up.wait_until_up("web.1")
        status, text = get(port, "/metrics", {})
        assert status == 200
        assert 'dynod_dyno_state{app="app",process_type="web",dyno="web.1",state="up"} 1\n' in text
        other = app_folder(tmp_path, procfile={"web": toy("web_server")}, name="other")
        with Up(other, "--metrics", f"127.0.0.1:{port}") as refused:
            assert refused.wait() == 1
            refused.wait_for_line("choose another with --metrics PORT")
