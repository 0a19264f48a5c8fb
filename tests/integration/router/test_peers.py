"""Independent clients and servers: curl, aiohttp, websockets, gunicorn, Node. And the program itself."""

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import websockets
from integration.router.bench import APP, OK, ScriptedBackend, Wire, answering, bench, closed_port, on_loop

from router import Backend
from support import installed

NODE_SERVER = """
const http = require('http');
const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    response.setHeader('X-Seen', request.method + ' ' + request.url);
    if (request.url === '/chunked') { response.write('a'); response.end(body); }
    else { response.setHeader('Content-Length', body.length); response.end(body); }
  });
});
server.listen(0, '127.0.0.1', () => console.log('listening on ' + server.address().port));
"""

WSGI_APP = """
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Scheme", environ["wsgi.url_scheme"])])
    return [environ["HTTP_X_FORWARDED_FOR"].encode(), b" ", body]
"""


@contextlib.asynccontextmanager
async def child(
    *command: str, cwd: Path | None = None, ready: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A program, and the port that it says in the line matching `ready`; ended afterwards."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHONUNBUFFERED")}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    try:
        while True:
            line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
            assert line, "the program ended before it was ready"
            match = re.search(ready, line)
            if match is not None:
                yield process, int(match.group(1))
                break
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 20)


def local(port: int) -> Backend:
    return Backend(id=f"p{port}", label="web.1", host="127.0.0.1", port=port)


@on_loop
async def test_aiohttp_client_with_bodies_of_all_kinds() -> None:
    from aiohttp import web  # noqa: PLC0415  # slow to import, used here only

    async def echo(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/stream":
            response = web.StreamResponse()
            await response.prepare(request)
            for start in range(0, len(body), 10_000):
                await response.write(body[start : start + 10_000])
            return response
        return web.Response(body=body, headers={"X-Method": request.method})

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = site._server
    assert server is not None
    port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # asyncio's and uvloop's have it
    try:
        async with bench(local(port)) as run, aiohttp.ClientSession(f"http://127.0.0.1:{run.port}") as session:
            for size in (0, 1, 100, 65536, 1_000_000):
                data = os.urandom(size)
                for path in ("/plain", "/stream"):
                    async with session.post(path, data=data) as answer:
                        assert await answer.read() == data

                    async def pieces(data: bytes = data) -> AsyncIterator[bytes]:
                        for start in range(0, len(data), 7000):
                            yield data[start : start + 7000]

                    async with session.put(path, data=pieces()) as answer:
                        assert await answer.read() == data
            answers = await asyncio.gather(*(session.get("/plain") for _ in range(50)))
            assert {answer.status for answer in answers} == {200}
            for answer in answers:
                answer.release()
            async with session.head("/plain") as answer:
                assert answer.headers["X-Method"] == "HEAD"
    finally:
        await runner.cleanup()


@on_loop
async def test_websockets_client_and_server() -> None:
    async def echo(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with bench(local(port)) as run:
            async with websockets.connect(f"ws://127.0.0.1:{run.port}/chat") as connection:
                for message in ("a", b"b" * 500_000, "c" * 70_000):
                    await connection.send(message)
                    assert await connection.recv() == message
                await (await connection.ping())
            record = await run.record()
            assert (record.status, record.upgraded) == (101, True)


@on_loop
async def test_an_idle_tunnel_is_ended_with_h15() -> None:
    async def quiet(connection: websockets.ServerConnection) -> None:
        await connection.wait_closed()

    async with websockets.serve(quiet, "127.0.0.1", 0, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with bench(local(port), idle_timeout_s=0.2) as run:
            async with websockets.connect(f"ws://127.0.0.1:{run.port}/", ping_interval=None) as connection:
                with pytest.raises(websockets.ConnectionClosed):
                    await connection.recv()
            assert (await run.record()).code == "H15"


@on_loop
async def test_nodes_http_as_server_and_client() -> None:
    installed.program("node")
    script = (
        "fetch(process.argv[1] + '/chunked', {method: 'POST', body: 'x'.repeat(100000)})"
        ".then(async (r) => console.log(r.status, (await r.text()).length, r.headers.get('x-seen')))"
    )
    async with child("node", "-e", NODE_SERVER, ready=r"listening on (\d+)") as (_, port), bench(local(port)) as run:
        client = await asyncio.create_subprocess_exec(
            "node", "-e", script, f"http://127.0.0.1:{run.port}", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(client.communicate(), 20)
        assert out.decode().split("\n")[0] == "200 100001 POST /chunked"
        async with aiohttp.ClientSession(f"http://127.0.0.1:{run.port}") as session:
            for size in (0, 10, 300_000):
                data = os.urandom(size)
                async with session.post("/plain", data=data) as answer:
                    assert await answer.read() == data


@on_loop
async def test_gunicorn_sees_the_client_and_the_scheme(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(WSGI_APP)
    port = closed_port()
    command = (
        sys.executable,
        "-m",
        "gunicorn",
        "-b",
        f"127.0.0.1:{port}",
        "--keep-alive",
        "2",
        "-k",
        "gthread",
        "toy:app",
    )
    async with (
        child(*command, cwd=tmp_path, ready=r"Listening at: http://127\.0\.0\.1:(\d+)"),
        bench(local(port)) as run,
    ):
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.5"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{run.port}", headers=headers) as session:
            for number in range(20):
                async with session.post("/", data=b"%d" % number) as answer:
                    assert await answer.text() == f"203.0.113.5, 127.0.0.1 {number}"
                    assert answer.headers["X-Scheme"] == "https"  # gunicorn trusts its loopback peer, as we do ours


@on_loop
async def test_curl_with_expect_and_pipes(tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(os.urandom(3_000_000))

    async def script(wire: Wire) -> None:
        while True:
            head = await wire.head()
            if b"chunked" in head:
                body = await wire._chunks()
            else:
                if b"Expect" in head:
                    await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                match = re.search(rb"Content-Length: (\d+)", head)
                body = await wire.exactly(int(match.group(1))) if match else b""
            digest = hashlib.sha256(body).hexdigest().encode()
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest)

    async with ScriptedBackend(script) as backend, bench(backend) as run:
        expected = hashlib.sha256(upload.read_bytes()).hexdigest().encode()
        url = f"http://127.0.0.1:{run.port}/"
        for extra in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"], ["-0"]):
            curl = await asyncio.create_subprocess_exec(
                *("curl", "-sS", "--max-time", "20", "--data-binary", f"@{upload}", *extra, url, url),
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await asyncio.wait_for(curl.communicate(), 30)
            assert out == expected * 2, extra


@on_loop
async def test_the_program_serves_logs_and_ends_on_term(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    answer_now = asyncio.Event()

    async def script(wire: Wire) -> None:
        head = await wire.head()
        if b"/slow" in head:
            await answer_now.wait()
        await wire.send(OK)

    async with ScriptedBackend(script) as backend:
        command = (
            *(
                sys.executable,
                "-m",
                "router",
                "--listen",
                "127.0.0.1:0",
                "--backend",
                f"web.7=127.0.0.1:{backend.port}",
            ),
            *("--access-log", str(log), "--drain-timeout", "10"),
        )
        async with child(*command, ready=r"^listening on 127\.0\.0\.1:(\d+)$") as (process, port):
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                async with session.get("/fast") as answer:
                    assert await answer.read() == b"hello"
                slow = asyncio.ensure_future(session.get("/slow"))
                await backend.connections(2)
                process.send_signal(signal.SIGTERM)
                while True:  # it refuses new clients at once
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                    except ConnectionError:
                        break
                    writer.close()
                answer_now.set()
                answer = await slow
                assert await answer.read() == b"hello"
                assert answer.headers["Connection"] == "close"
            assert await asyncio.wait_for(process.wait(), 20) == 0
        lines = log.read_text().splitlines()
        assert [re.sub(r"(request_id|connect|service|bytes)=\S*", r"\1=", line) for line in lines] == [
            f'at=info method=GET path="/{path}" host=127.0.0.1:{port} request_id= fwd="127.0.0.1" dyno=web.7 connect= '
            "service= status=200 bytes= protocol=http"
            for path in ("fast", "slow")
        ]


@on_loop
async def test_the_program_says_what_is_wrong_with_its_arguments() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router", "--backend", "nowhere"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (2, b"dynod-router: --backend: expected HOST:PORT, found 'nowhere'\n")


@on_loop
async def test_the_metrics_are_prometheus_text_and_count_each_request_once() -> None:
    from prometheus_client import generate_latest  # noqa: PLC0415  # used here only

    async with ScriptedBackend(answering(OK)) as backend, bench(backend) as run:
        for _ in range(3):
            await run.ask()
        await run.ask(b"BAD\r\n\r\n")
        await run.record(4)
        text = generate_latest(run.router.metrics.registry).decode()
        assert (
            f'dynod_router_requests_total{{app="{APP}",code="",dyno="web.1",process_type="web",status="2xx"}} 3.0'
            in text
        )
        assert 'dynod_router_requests_total{app="",code="H26",dyno="",process_type="",status="4xx"} 1.0' in text
        assert f'dynod_router_request_seconds_count{{app="{APP}",dyno="web.1",process_type="web"}} 3.0' in text
        assert f'dynod_router_in_flight{{app="{APP}",dyno="web.1",process_type="web"}} 0.0' in text
        assert 'dynod_router_refused_heads_total{reason="bad request line"} 1.0' in text
