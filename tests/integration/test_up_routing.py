"""From a client over the router of `dynod up` to a web dyno and back, and what is answered where none can serve."""

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect
from yarl import URL

from support.app_folder import app_folder, toy
from support.open_request import OpenRequest
from support.up import IN_THE_FOLDER, LISTENING, Up, free_port

WEB = {"web": toy("web_server")}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def as_client(up: Up, act: Callable[[aiohttp.ClientSession], Coroutine[None, None, None]]) -> None:
    """Run `act` with an aiohttp session whose base is the router."""

    async def work() -> None:
        async with asyncio.timeout(40), aiohttp.ClientSession(up.router_url) as session:
            await act(session)

    asyncio.run(work())


def router_line(up: Up, path: str, *, since: int = 0) -> str:
    """The router's line about a request for this path."""
    return up.wait_for_line(
        rf'heroku\[router\]: (.* path="{re.escape(path)}" .*)$', since=since, stream="stdout"
    ).group()


# Passing through


def test_two_dynos_share_the_requests_and_each_is_logged(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile=WEB), "web=2") as up:
        up.wait_until_up("web.1", "web.2")
        counts: Counter[str] = Counter()

        async def ask(session: aiohttp.ClientSession) -> None:
            async def one(number: int) -> None:
                async with session.get(f"/{number}") as answer:
                    assert answer.status == 200
                    counts[answer.headers["X-Dyno"]] += 1

            await asyncio.gather(*(one(number) for number in range(60)))

        as_client(up, ask)
        assert set(counts) == {"web.1", "web.2"}
        lines = [router_line(up, f"/{number}") for number in range(60)]
        logged = Counter(re.search(r" dyno=(\S+) ", line)[1] for line in lines)  # type: ignore[index] # it is in each
        assert logged == counts


def test_the_headers_that_an_app_relies_on(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile=WEB)) as up:
        up.wait_until_up("web.1")

        async def ask(session: aiohttp.ClientSession) -> None:
            before_ms = time.time_ns() // 1_000_000
            async with session.get(
                URL("/a?b=1&c=%2F", encoded=True), headers={"Host": "shop.example:8080", "X-Mine": "1"}
            ) as answer:
                described = await answer.json()
                assert answer.headers["Via"].split()[-1] == "dynod"
            after_ms = time.time_ns() // 1_000_000
            seen = {name.lower(): value for name, value in described["headers"]}
            assert len(seen) == len(described["headers"])
            assert (described["method"], described["path"]) == ("GET", "/a?b=1&c=%2F")
            assert (seen["host"], seen["x-mine"]) == ("shop.example:8080", "1")
            assert seen["x-forwarded-for"] == "127.0.0.1"
            assert seen["x-forwarded-proto"] == "http"
            assert seen["x-forwarded-port"] == str(up.port)
            assert seen["via"] == "1.1 dynod"
            assert before_ms <= int(seen["x-request-start"]) <= after_ms
            assert re.fullmatch(UUID, seen["x-request-id"])
            line = router_line(up, "/a?b=1&c=%2F")
            assert re.fullmatch(
                r'at=info method=GET path="/a\?b=1&c=%2F" host=shop\.example:8080 '
                rf"request_id={seen['x-request-id']} "
                r'fwd="127\.0\.0\.1" dyno=web\.1 connect=\d+ms service=\d+ms status=200 bytes=\d+ protocol=http',
                line,
            )

        as_client(up, ask)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abcDEF0123456789+/=-", True), ("0123456789_0123456789", False), ("too-short", False), ("x" * 201, False)],
)
def test_a_request_id_is_kept_where_heroku_would_keep_it(tmp_path: Path, given: str, kept: bool) -> None:
    with Up(app_folder(tmp_path, procfile=WEB)) as up:
        up.wait_until_up("web.1")
        described = json.loads(up.get("/", headers={"X-Request-Id": given}).body)
        (seen,) = [value for name, value in described["headers"] if name.lower() == "x-request-id"]
        assert seen == given if kept else re.fullmatch(UUID, seen)
        assert f" request_id={seen} " in router_line(up, "/")


def test_a_proxy_on_this_machine_is_believed(tmp_path: Path) -> None:
    """Loopback peers are trusted proxies (contracts 8): a tunnel such as ngrok's tells the real scheme and host."""
    told = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}
    with Up(app_folder(tmp_path, procfile=WEB)) as up:
        up.wait_until_up("web.1")
        described = json.loads(up.get("/", headers=told).body)
        seen = {name: value for name, value in described["headers"] if name in told}
        assert {name: value.replace(" ", "") for name, value in seen.items()} == {
            **told,
            "X-Forwarded-For": "203.0.113.9,127.0.0.1",
        }
        assert ' fwd="203.0.113.9,127.0.0.1" ' in router_line(up, "/")


def test_bodies_pass_both_ways_unchanged(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile=WEB), "web=2") as up:
        up.wait_until_up("web.1", "web.2")

        async def ask(session: aiohttp.ClientSession) -> None:
            async def post(number: int) -> None:
                body = bytes([number]) * number * 50_000 + os.urandom(10)
                async with session.post("/echo", data=body) as answer:
                    assert (answer.status, await answer.read() == body) == (200, True)

            async def get() -> None:
                async with session.get("/bytes/3000000") as answer:
                    assert await answer.read() == b"x" * 3_000_000

            await asyncio.gather(*(post(number) for number in range(20)), get(), get())

        as_client(up, ask)


def test_web_sockets_pass(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={"web": toy("websocket_echo")})) as up:
        up.wait_until_up("web.1")

        async def talk() -> None:
            url = up.router_url.replace("http://", "ws://")
            async with asyncio.timeout(30), connect(f"{url}/chat", max_size=None) as socket_:
                assert await socket_.recv() == "web.1"
                for message in ("täglich", b"\x00\xff" * 300_000, ""):
                    await socket_.send(message)
                    assert await socket_.recv() == message

        asyncio.run(talk())
        assert " dyno=web.1 " in (line := router_line(up, "/chat"))
        assert " status=101 " in line


def test_it_listens_on_both_loopback_families_and_every_host_reaches_the_app(tmp_path: Path) -> None:
    port = free_port()
    with Up(app_folder(tmp_path, procfile=WEB), "-p", str(port), port=0) as up:
        up.wait_until_up("web.1")

        async def ask(session: aiohttp.ClientSession) -> None:
            for url in (f"http://127.0.0.1:{port}/", f"http://[::1]:{port}/"):
                async with session.get(url, headers={"Host": "anything.example"}) as answer:
                    assert answer.status == 200

        as_client(up, ask)


def test_one_address_asked_for_is_the_only_one(tmp_path: Path) -> None:
    port = free_port()
    with Up(app_folder(tmp_path, procfile=WEB), "-p", f"[::1]:{port}", port=0) as up:
        up.wait_until_up("web.1")
        assert up.router_url == f"http://[::1]:{port}"
        assert up.get("/").status == 200
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


# Which dyno is up


def test_a_dyno_that_listens_on_ipv6_alone_is_found_there(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={"web": f"{toy('web_server')} --host ::1"})) as up:
        up.wait_until_up("web.1")
        assert up.get("/").status == 200


def test_a_dyno_that_others_can_reach_past_the_router_is_named_once(tmp_path: Path) -> None:
    procfile = {"web": toy("web_server", "--host", "0.0.0.0"), "worker": toy("counts")}
    with Up(app_folder(tmp_path, procfile=procfile), "web=3", "worker=1") as up:
        up.wait_until_up("web.1", "web.2", "web.3", "worker.1")
        said = [line.text for line in up.output.lines("stdout") if "past the router" in line.text]
        assert len(said) == 1, said
        assert re.search(
            r"heroku\[web\.\d\]: web listens on 0\.0\.0\.0:2\d{4}, on every network of this machine: other machines "
            r"can reach it past the router\. To keep it here, bind 127\.0\.0\.1$",
            said[0],
        )


def test_a_dyno_that_stays_on_this_machine_is_not_named(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={"web": toy("web_server", "--host", "127.0.0.1")})) as up:
        up.wait_until_up("web.1")
        assert up.get("/").status == 200
        assert not [line.text for line in up.output.lines("stdout") if "past the router" in line.text]


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "0.0.0.0"), ("::1", "[::1]")])
def test_a_dyno_on_the_wrong_port_is_told_so(tmp_path: Path, host: str, shown: str) -> None:
    wrong = free_port()
    command = f"{toy('web_server', '--host', host, '--port', wrong)} --label $PORT"
    with Up(app_folder(tmp_path, procfile={"web": command})) as up:
        port = up.wait_for_line(r"heroku\[web\.1\]: Starting process with command `.* --label (\d+)`").group()
        up.wait_for_line(rf"heroku\[web\.1\]: {re.escape(f'web.1 listens on {shown}:{wrong}, PORT is {port}')}$")
        assert not any("State changed" in line.text for line in up.output.lines("stdout"))


def test_a_dyno_that_binds_late_gets_the_requests_that_wait_for_it(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": toy("web_server", "--gate", "gate")})
    os.mkfifo(folder / "gate")
    with Up(folder) as up:
        up.wait_for_line(r"app\[web\.1\]: waits before it binds")
        early = [OpenRequest(up, f"/{number}") for number in range(5)]
        assert not any(request.is_answered for request in early)
        (folder / "gate").write_text("go\n")
        assert [request.answer()[0] for request in early] == [200] * 5
        up.wait_until_up("web.1")


def test_a_stranger_on_its_port_makes_a_dyno_take_another(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={"web": f"{toy('web_server')} --gate gate --port $PORT"})
    os.mkfifo(folder / "gate")
    started = r"heroku\[web\.1\]: Starting process with command `.* --port (\d+)`"
    with Up(folder) as up:
        first = up.wait_for_line(started)
        waiting = up.wait_for_line(r"app\[web\.1\]: waits before it binds")
        with socket.create_server(("127.0.0.1", int(first.group()))):
            said = up.wait_for_line(
                rf"heroku\[web\.1\]: port {first.group()} was taken by another program meanwhile; trying another port$"
            )
            second = up.wait_for_line(started, since=said.number)
            assert second.group() != first.group()
            up.wait_for_line(r"app\[web\.1\]: waits before it binds", since=waiting.number + 1)
            (folder / "gate").write_text("go\n")
            up.wait_until_up("web.1")
            assert json.loads(up.get("/").body)["port"] == int(second.group())
        assert not any("crashed" in line.text for line in up.output.lines("stdout"))


# No dyno to answer


def test_h10_where_every_web_dyno_has_crashed(tmp_path: Path) -> None:
    """Also for a request that came while it still booted."""
    with Up(app_folder(tmp_path, procfile={"web": toy("exits_at_once", 1)})) as up:
        answer = up.get("/", headers={"Accept": "text/html"})
        assert answer.status == 503
        line = router_line(up, "/")
        assert line.startswith('at=error code=H10 desc="App crashed" method=GET path="/" host=127.0.0.1:')
        assert " dyno= connect= service= status=503 bytes= protocol=http" in line


def test_who_waits_for_a_dyno_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A browser tab in front of an app that never comes up, and Ctrl-C."""
    folder = app_folder(tmp_path, procfile={"web": toy("web_server", "--gate", "gate")})
    os.mkfifo(folder / "gate")
    with Up(folder) as up:
        up.wait_for_line(r"app\[web\.1\]: waits before it binds")
        early = OpenRequest(up, "/")
        up.send_signal(signal.SIGINT)
        assert early.answer()[0] == 503
        assert up.wait() == 0
        assert "code=H14" in router_line(up, "/")


def test_h14_where_there_is_no_web_dyno(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={**WEB, "worker": toy("waits")}), "web=0", "worker") as up:
        up.wait_for_line(r"app\[worker\.1\]: ready")
        assert up.get("/").status == 503
        assert router_line(up, "/").startswith('at=error code=H14 desc="No web processes running" method=GET path="/"')
        assert set(up.dyno_pids()) == {"worker.1"}


def test_h20_where_none_comes_up_in_time(tmp_path: Path) -> None:
    """After Heroku's 75 s, here a second by dynod.toml."""
    folder = app_folder(tmp_path, procfile={"web": toy("waits")}, files={"dynod.toml": "[router]\nboot_hold_s = 1\n"})
    with Up(folder) as up:
        up.wait_for_line(r"app\[web\.1\]: ready")
        assert up.get("/").status == 503
        assert router_line(up, "/").startswith('at=error code=H20 desc="App boot timeout" method=GET path="/"')


@pytest.mark.parametrize("strict", [False, True], ids=["reported", "strict"])
def test_r10_where_a_web_dyno_does_not_listen_in_time(tmp_path: Path, strict: bool) -> None:
    """After Heroku's 60 s, here a second by dynod.toml; only with --strict is the dyno killed for it."""
    folder = app_folder(tmp_path, procfile={"web": toy("waits")}, files={"dynod.toml": "[dynos]\nboot_timeout_s = 1\n"})
    with Up(folder, *(["--strict"] if strict else []), env=IN_THE_FOLDER) as up:
        pid = int(up.wait_for_line(r"app\[web\.1\]: ready pid=(\d+)").group())
        said = up.wait_for_line(
            r"heroku\[web\.1\]: Error R10 \(Boot timeout\) -> Web process failed to bind to \$PORT within 1 seconds "
        )
        if strict:
            up.wait_for_line(r"heroku\[web\.1\]: Stopping process with SIGKILL", since=said.number)
            up.wait_for_line(r"heroku\[web\.1\]: Process exited with status 137", since=said.number)
            up.wait_for_line(r"heroku\[web\.1\]: State changed from starting to crashed", since=said.number)
        else:
            assert pid in up.dyno_pids()["web.1"]


def test_no_router_without_a_web_type(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile={**WEB, "worker": toy("waits")}), "worker") as up:
        up.wait_for_line(r"app\[worker\.1\]: ready")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", up.port))
        assert not any(re.search(LISTENING, line.text) for line in up.output.lines())


def test_a_dyno_that_dies_in_a_request_is_reported_and_the_next_request_waits_for_its_successor(tmp_path: Path) -> None:
    with Up(app_folder(tmp_path, procfile=WEB)) as up:
        up.wait_until_up("web.1")
        assert up.get("/exit/3").status == 503
        assert router_line(up, "/exit/3").startswith("at=error code=H13 ")
        assert up.get("/after").status == 200
        up.wait_for_line(r"heroku\[web\.1\]: Process exited with status 3$")


def test_requests_wait_for_the_release(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={**WEB, "release": "cat gate"})
    os.mkfifo(folder / "gate")
    with Up(folder, "--release") as up:
        up.wait_for_line(r"heroku\[release\.\d+\]: State changed from starting to up")
        early = OpenRequest(up, "/")
        assert set(up.dyno_pids()) == {up.wait_for_line(r"heroku\[(release\.\d+)\]").group()}
        (folder / "gate").write_text("migrated\n")
        assert early.answer()[0] == 200


def test_a_failed_release_ends_up_and_answers_who_waits(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, procfile={**WEB, "release": "cat gate && exit 3"})
    os.mkfifo(folder / "gate")
    with Up(folder, "--release") as up:
        up.wait_for_line(r"heroku\[release\.\d+\]: State changed from starting to up")
        early = OpenRequest(up, "/")
        (folder / "gate").write_text("oh\n")
        assert up.wait() == 3
        up.wait_for_line(r"^dynod: the release process failed with status 3: nothing was started$", stream="stderr")
        assert early.answer()[0] == 503
        assert not any("web.1" in line.text for line in up.output.lines())


@pytest.mark.timeout(120)
def test_h12_is_only_reported_unless_strict(tmp_path: Path) -> None:
    """A breakpoint is no timeout. The limit is Heroku's 30 s: two runs side by side."""
    folders = [app_folder(tmp_path, procfile=WEB, name=name) for name in ("lenient", "strict")]
    for folder in folders:
        os.mkfifo(folder / "breakpoint")
    with Up(folders[0]) as lenient, Up(folders[1], "--strict", env=IN_THE_FOLDER) as strict:
        asked = []
        for up in (lenient, strict):
            up.wait_until_up("web.1")
            asked.append(OpenRequest(up, "/gate/breakpoint"))
            up.wait_for_line(r"app\[web\.1\]: request waits at gate breakpoint")
        assert asked[1].answer()[0] == 503
        assert router_line(strict, "/gate/breakpoint").startswith('at=error code=H12 desc="Request timeout" ')
        assert not asked[0].is_answered
        said = lenient.wait_for_line(
            r"heroku\[web\.1\]: Error H12 \(Request timeout\) -> No answer to GET \"/gate/breakpoint\" within "
            r"30 seconds; it goes on \(request_id=([0-9a-f-]{36})\)"
        )
        assert not asked[0].is_answered
        assert not any("heroku[router]" in line.text for line in lenient.output.lines()), "said before the end"
        for folder in folders:
            (folder / "breakpoint").write_text("go on\n")
        assert asked[0].answer() == (200, b"passed\n")
        line = router_line(lenient, "/gate/breakpoint")
        assert re.match(r"at=error code=H12 .* status=200 ", line)
        assert said.text.partition("(request_id=")[2].rstrip(")") in line
        assert len([line for line in lenient.output.lines() if "Error H12" in line.text]) == 1, "said more than once"
