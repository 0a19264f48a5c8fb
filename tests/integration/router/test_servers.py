"""One app on five servers behind the router, asked by clients that know nothing of it: tests/toys/servers/README.md.

Bodies both ways, by length and in parts, kept connections, answers without a body, events, tunnels.
"""

import asyncio
import contextlib
import http.client
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import websockets
from integration.router.bench import Bench, bench, closed_port, on_loop, own_address
from integration.router.test_peers import child

from router import Backend
from support import installed
from support.source_tree import REPOSITORY

APPS: Final = REPOSITORY / "tests" / "toys" / "servers"
SIZES: Final = (0, 1, 9_999, 65_536, 400_000)
EVENTS: Final = b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
NO_CHUNKED_REQUESTS: Final = {"php"}  # its built-in server leaves a chunked body unread


def _gunicorn(address: str) -> tuple[list[str], str]:
    command = [*(sys.executable, "-m", "gunicorn", "-b", f"{address}:{closed_port(address)}", "-k", "gthread")]
    return [*command, "--threads", "8", "--keep-alive", "2", "wsgi_app:app"], r"Listening at: http://[\d.]+:(\d+)"


def _uvicorn(address: str) -> tuple[list[str], str]:
    command = [*(sys.executable, "-m", "uvicorn", "--host", address, "--port", "0")]
    return [*command, "--ws-max-size", str(1 << 24), "asgi_app:app"], r"running on http://[\d.]+:(\d+)"


def _php(address: str) -> tuple[list[str], str]:
    command = [installed.program("php"), "-S", f"{address}:{closed_port(address)}", "app.php"]
    return command, r"\(http://[\d.]+:(\d+)\) started"


# What is run to listen on an address of its own, and the line that then says the port.
SERVERS: Final[Mapping[str, Callable[[str], tuple[list[str], str]]]] = {
    "gunicorn": _gunicorn,
    "uvicorn": _uvicorn,
    "aiohttp": lambda address: ([sys.executable, "aiohttp_app.py", address], r"http://[\d.]+:(\d+)"),
    "node": lambda address: ([installed.program("node"), "app.js", address], r"listening on (\d+)"),
    "php": _php,
}


@contextlib.asynccontextmanager
async def behind_router(name: str) -> AsyncIterator[Bench]:
    """The server as a child, the router in front of it; every request of the test must have gone well."""
    address = own_address()
    command, ready = SERVERS[name](address)
    async with (
        child(*command, cwd=APPS, ready=ready) as (_, port),
        bench(Backend(id="one", label="web.1", host=address, port=port)) as run,
    ):
        yield run
        await run.router.drain(5.0)
        assert [(record.path, record.code) for record in run.records if record.code is not None] == []


@pytest.mark.parametrize("name", SERVERS)
@on_loop
async def test_aiohttps_client_gets_what_it_asks_for(name: str) -> None:
    async def parts_of(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7_000):
            yield body[start : start + 7_000]

    async with (
        behind_router(name) as run,
        aiohttp.ClientSession(f"http://127.0.0.1:{run.port}", connector=aiohttp.TCPConnector(limit=4)) as session,
    ):
        for size in SIZES:
            body = random.randbytes(size)
            for path in ("/echo", "/parts"):
                async with session.post(path, data=body) as answer:
                    assert (answer.status, await answer.read()) == (200, body), (path, size)
                if name not in NO_CHUNKED_REQUESTS:
                    async with session.post(path, data=parts_of(body)) as answer:
                        assert (answer.status, await answer.read()) == (200, body), (path, size)
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
            async with session.request(method, "/echo", data=b"x") as answer:
                assert (answer.headers["X-Method"], await answer.read()) == (method, b"x")
        async with session.head("/echo") as answer:
            assert (answer.status, answer.headers["X-Method"], await answer.read()) == (200, "HEAD", b"")
        async with session.get("/none") as answer:
            assert (answer.status, answer.headers["X-Method"], await answer.read()) == (204, "GET", b"")
        async with session.get("/same") as answer:
            assert (answer.status, answer.headers["ETag"], await answer.read()) == (304, '"x"', b"")
        async with session.get("/events") as answer:
            assert (answer.headers["Content-Type"].partition(";")[0], await answer.read()) == (
                "text/event-stream",
                EVENTS,
            )
        answers = await asyncio.gather(*(session.post("/echo", data=b"%d" % number) for number in range(30)))
        assert [await answer.read() for answer in answers] == [b"%d" % number for number in range(30)]


@pytest.mark.parametrize("name", SERVERS)
@on_loop
async def test_curl_gets_what_it_asks_for(name: str, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(os.urandom(300_000))

    async def curl(*arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *(installed.program("curl"), "-sS", "--max-time", "20", "-H", "Content-Type: application/octet-stream"),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, arguments
        return out

    async with behind_router(name) as run:
        url = f"http://127.0.0.1:{run.port}"
        sent = upload.read_bytes()
        # Two requests each, so over one connection, which curl says by the second one's %{num_connects}.
        said = ("-w", "|%{http_code} %{num_connects}|")
        out = await curl("--data-binary", f"@{upload}", *said, f"{url}/echo", f"{url}/parts")
        assert out == sent + b"|200 1|" + sent + b"|200 0|"
        if name not in NO_CHUNKED_REQUESTS:
            chunked = ("-H", "Transfer-Encoding: chunked", "--data-binary", f"@{upload}")
            assert await curl(*chunked, f"{url}/echo") == sent
        assert await curl("-0", "--data-binary", f"@{upload}", f"{url}/parts") == sent
        assert await curl("-H", "Expect: 100-continue", "--data-binary", f"@{upload}", f"{url}/echo") == sent
        assert b"HTTP/1.1 200" in await curl("--head", f"{url}/echo")
        assert await curl(*said, f"{url}/none", f"{url}/same") == b"|204 1||304 0|"
        assert await curl("-N", f"{url}/events") == EVENTS


@pytest.mark.parametrize("name", SERVERS)
@on_loop
async def test_pythons_own_client_keeps_its_connection(name: str) -> None:
    def ask(port: int) -> list[tuple[int, bytes]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with contextlib.closing(connection):
            got = []
            for method, path in (("POST", "/echo"), ("HEAD", "/echo"), ("GET", "/none"), ("GET", "/same")) * 3:
                connection.request(method, path, b"body" if method == "POST" else None)
                first = connection.sock
                answer = connection.getresponse()
                got.append((answer.status, answer.read()))
                assert connection.sock is first, "the connection was closed"
            return got

    async with behind_router(name) as run:
        got = await asyncio.to_thread(ask, run.port)
        assert got == [(200, b"body"), (200, b""), (204, b""), (304, b"")] * 3


@pytest.mark.parametrize("name", ["node", "uvicorn", "php"])
@on_loop
async def test_nodes_fetch_gets_what_it_asks_for(name: str) -> None:
    script = """
    const url = process.argv[1];
    (async () => {
      const body = 'x'.repeat(200000);
      for (const path of ['/echo', '/parts']) {
        const answer = await fetch(url + path, {method: 'POST', body});
        console.log(answer.status, (await answer.text()) === body);
      }
      for (const path of ['/none', '/events']) {
        const answer = await fetch(url + path);
        console.log(answer.status, (await answer.text()).length);
      }
    })();
    """
    async with behind_router(name) as run:
        process = await asyncio.create_subprocess_exec(
            *(installed.program("node"), "-e", script, f"http://127.0.0.1:{run.port}"), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        assert out.decode().splitlines() == ["200 true", "200 true", "204 0", f"200 {len(EVENTS)}"]


@pytest.mark.parametrize("name", ["uvicorn", "aiohttp"])
@on_loop
async def test_websocket_messages_come_back(name: str) -> None:
    async with behind_router(name) as run:
        async with websockets.connect(f"ws://127.0.0.1:{run.port}/tunnel", max_size=None) as connection:
            for message in ("first", b"b" * 500_000, "ü" * 40_000):
                await connection.send(message)
                assert await connection.recv() == message
            await (await connection.ping())
        record = await run.record()
        assert (record.status, record.upgraded) == (101, True)


@on_loop
async def test_any_other_protocol_passes_through_node() -> None:
    async with behind_router("node") as run:
        client = await run.client()
        await client.send(
            b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: bytes-back\r\n\r\nearly "
        )
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        await client.send(b"\0and late")
        assert await client.exactly(15) == b"early \0and late"
        client.end()
        assert await client.rest() == b""
        assert (await run.record()).upgraded
