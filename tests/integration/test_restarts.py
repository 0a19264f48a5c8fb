"""`ps:restart` under `dynod serve`: no gap, no lost request, and what happens when it meets something else."""

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon
from support.app_folder import TOYS, app_folder, toy
from support.open_request import OpenRequest
from support.serve import Serve, ServedApp
from support.up import Up, eventually

pytestmark = pytest.mark.timeout(180)
CONNECTIONS = 16
REQUESTS = 2000
SERVER = TOYS / "web_server.py"
# While the file "broken" is there it ends before it listens.
BREAKABLE = f"test ! -e broken || exit 3; exec {sys.executable} {SERVER}"
# Where there is a gate it waits there before it listens.
GATED = f"exec {sys.executable} {SERVER} $(test ! -e gate || echo --gate gate)"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "state") as running:
        running.wait_until_ready()
        yield running


class Load:
    """Contracts 9 in small: half kept alive and half new connections, half POST with a body that must come back."""

    def __init__(self, app: ServedApp) -> None:
        self._app = app
        self.outcomes: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CONNECTIONS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> None:
        """That many answers in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.outcomes.total() >= count, timeout=60), self.outcomes

    def _ask(self, number: int) -> None:
        keeps, sent = number % 2 == 0, 0
        connection = self._connection()
        with contextlib.closing(connection):
            while not self._done.is_set():
                sent += 1
                body = f"{number}-{sent} ".encode() * 100
                posts = (number // 2 + sent) % 2 == 0
                try:
                    outcome = self._one(connection, body if posts else None, keeps=keeps)
                except (OSError, http.client.HTTPException) as error:
                    outcome = type(error).__name__
                    connection.close()
                with self._changed:
                    self.outcomes[outcome] += 1
                    self._changed.notify_all()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._app.serve.port, timeout=30)

    def _one(self, connection: http.client.HTTPConnection, body: bytes | None, *, keeps: bool) -> str:
        headers = {"Host": f"{self._app.name}.localhost", **({} if keeps else {"Connection": "close"})}
        connection.request("GET" if body is None else "POST", "/" if body is None else "/echo", body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            return f"status {response.status}"
        if body is not None and answer != body:
            return "another body"
        return "ok"


def test_no_request_fails_while_web_dynos_are_restarted(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"web": toy("web_server")}, quantities={"web": 2})
    shop.wait_until_up("web.1", "web.2")
    seen = [shop.pids()]
    with Load(shop) as load:
        for round_ in range(1, 4):
            load.wait_for(round_ * REQUESTS // 4)
            shop.restart(process_type="web")
            shop.wait()
            seen.append(shop.pids())
        load.wait_for(REQUESTS)
    assert set(load.outcomes) == {"ok"}, load.outcomes
    assert len({pid for pids in seen for pid in pids.values()}) == 8
    errors = [line for line in shop.log() if "heroku[router]: at=error" in line]
    assert errors == []


def test_what_the_old_dyno_has_in_flight_it_answers(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"web": toy("web_server")})
    shop.wait_until_up("web.1")
    gate = tmp_path / "shop" / "gate"
    os.mkfifo(gate)
    held = OpenRequest(serve, "/gate/gate")
    shop.wait_for_log(r"app\[web\.1\]: request waits at gate")
    old = shop.pids()["web.1"]
    shop.restart(dyno="web.1")
    shop.wait()
    new = json.loads(shop.get("/").body)["pid"]
    assert new == shop.pids()["web.1"] != old
    assert not held.is_answered
    gate.write_text("go")
    assert held.answer() == (200, b"passed\n")
    shop.wait_for_log(r"heroku\[web\.1\]: Process exited with status 0")


def test_an_old_dyno_stays_where_the_new_one_does_not_come_up(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"web": BREAKABLE})
    shop.wait_until_up("web.1")
    old = shop.pids()
    (tmp_path / "shop" / "broken").touch()
    shop.restart(dyno="web.1")
    shop.wait_for_log(r"heroku\[web\.1\]: Process exited with status 3")
    shop.wait_for_log(r"heroku\[web\.1\]: web\.1 goes on with its old process: the new one did not come up")
    shop.wait_until_up("web.1")
    assert shop.pids() == old
    assert shop.get("/").status == 200
    (tmp_path / "shop" / "broken").unlink()
    shop.restart(dyno="web.1")
    shop.wait()
    assert shop.pids() != old


def test_asked_twice_it_ends_with_one_that_started_after_the_second(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"web": toy("web_server")}, quantities={"web": 2})
    shop.wait_until_up("web.1", "web.2")
    old = shop.pids()
    for _ in range(3):
        shop.restart(process_type="web")
    shop.wait()
    shop.wait_until_up("web.1", "web.2")
    new = shop.pids()
    assert not set(old.values()) & set(new.values())
    eventually(lambda: set(serve.dyno_pids()) == {"web.1", "web.2"} and _only(serve), what="nobody else is left")


def _only(serve: Serve) -> bool:
    return all(len(pids) == 1 for pids in serve.dyno_pids().values())


def test_a_dyno_that_boots_is_restarted_too(serve: Serve, tmp_path: Path) -> None:
    procfile = {"web": toy("web_server", "--gate", "gate")}
    folder = serve.folder_of(tmp_path, "shop", procfile=procfile)
    os.mkfifo(folder / "gate")
    serve.done("apps:create", "shop", "--dir", str(folder))
    shop = serve.known_app("shop")
    shop.wait_for_log(r"app\[web\.1\]: waits before it binds")
    first = shop.pids()["web.1"]
    shop.restart(dyno="web.1")
    shop.wait_for_log(r"app\[web\.1\]: waits before it binds", count=2)
    assert shop.pids()["web.1"] != first
    assert shop.states() == {"web.1": "starting"}
    (folder / "gate").write_text("go")
    shop.wait()
    assert shop.get("/").status == 200


@pytest.mark.parametrize("how", ["scale", "destroy", "stop"])
def test_a_restart_under_way_holds_nothing_up(tmp_path: Path, how: str) -> None:
    """Of three, the first boots and never listens; the others wait their turn and are gone before it comes."""
    with Serve(tmp_path / "state") as serve:
        shop = serve.app(tmp_path, "shop", procfile={"web": GATED}, quantities={"web": 3})
        shop.wait_until_up("web.1", "web.2", "web.3")
        os.mkfifo(tmp_path / "shop" / "gate")
        shop.restart(process_type="web")
        shop.wait_for_log(r"waits before it binds")
        match how:
            case "scale":
                shop.scale("web=0")
                shop.wait_until({})
                shop.scale("web=1")
                shop.wait_for_log(r"waits before it binds", count=2)
                (tmp_path / "shop" / "gate").write_text("go")
                shop.wait_until_up("web.1")
                shop.wait()  # no restart is under way any more
            case "destroy":
                serve.done("apps:destroy", "shop", "--confirm", "shop")
                assert serve.app_names() == []
            case _:
                pass
        assert serve.stop() == 0


def test_a_restart_of_a_crashed_dyno_does_not_wait_out_its_delay(serve: Serve, tmp_path: Path) -> None:
    shop = serve.app(tmp_path, "shop", procfile={"worker": toy("waits")}, quantities={"worker": 1})
    shop.wait_until_up("worker.1")
    for crash in range(1, 5):
        pid = shop.pids()["worker.1"]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        shop.wait_for_log(r"Process exited with status 137", count=crash)
        shop.restart(dyno="worker.1")
        eventually(lambda pid=pid: shop.pids()["worker.1"] not in {None, pid}, what="the next one")  # type: ignore[misc]  # of a loop variable
        shop.wait_until_up("worker.1")
    assert "crash 2 in a row" not in "".join(shop.log())  # a person begins the ladder anew


def test_an_up_that_is_stopped_in_a_rolling_restart_ends(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": GATED})
    with Up(folder, "web=3") as up:
        up.wait_until_up("web.1", "web.2", "web.3")
        os.mkfifo(folder / "gate")
        mark = json.loads((folder / ".dynod" / "up.json").read_text())
        with contextlib.closing(ApiClient(Daemon(socket=mark["socket"], source=""))) as client:
            client.restart(mark["app"], process_type="web")
        up.wait_for_line(r"waits before it binds")
        assert up.stop() == 0
