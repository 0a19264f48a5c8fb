"""Behind real nginx, Caddy and HAProxy with TLS, run from the samples of config/proxies.

Scheme and client are believed because the proxy is trusted, and only because of that. Clients ask from another address
than the proxy does.
"""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
from integration.router.bench import OK, Bench, ScriptedBackend, Wire, answering, bench, closed_port, on_loop
from integration.router.fronts import CLIENT, HOST, SAMPLES, Front, front
from integration.router.test_peers import child, local
from prometheus_client import generate_latest

from router import AppCondition, RouterSettings

WORKING = ["nginx", "caddy", "haproxy", "haproxy-proxy-protocol"]
ONLY_THE_PROXY = ("127.0.0.1/32", "::1/128")  # is trusted, not all of 127.0.0.0/8, as our clients ask from there too

DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

def seen(request):
    return JsonResponse({
        "secure": request.is_secure(),
        "uri": request.build_absolute_uri(),
        "fwd": request.headers.get("X-Forwarded-For"),
        "port": request.headers.get("X-Forwarded-Port"),
        "host": request.headers.get("X-Forwarded-Host"),
        "more": sorted(name for name in ("Forwarded", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Protocol")
                       if name in request.headers),
    })

settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", SECURE_SSL_REDIRECT=True,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware"],
)
urlpatterns = [path("", seen)]
app = get_wsgi_application()
"""
FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "81",
    "X-Forwarded-Host": "evil.test",
    "X-Forwarded-Ssl": "off",
    "X-Forwarded-Scheme": "http",
    "X-Forwarded-Protocol": "http",
    "X_Forwarded_Proto": "http",
    "Forwarded": "for=6.6.6.6",
}


@contextlib.asynccontextmanager
async def django(folder: Path) -> AsyncIterator[int]:
    """The port of gunicorn with a Django app that insists on HTTPS."""
    (folder / "site_under_test.py").write_text(DJANGO)
    dyno = closed_port()
    command = (sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{dyno}", "--threads", "4", "site_under_test:app")
    async with child(*command, cwd=folder, ready=r"Listening at: http://127\.0\.0\.1:(\d+)"):
        yield dyno


def router_behind(kind: str, *backends: Any) -> contextlib.AbstractAsyncContextManager[Bench]:
    """The router as the sample wants it."""
    return bench(*backends, trusted_proxies=ONLY_THE_PROXY, proxy_protocol="proxy-protocol" in kind)


def client_of(proxy: Front) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        f"https://{proxy.address}:{proxy.port}",
        connector=aiohttp.TCPConnector(local_addr=(CLIENT, 0), ssl=proxy.tls),
    )


def host_of(proxy: Front) -> str:
    return HOST if proxy.port == 443 else f"{HOST}:{proxy.port}"


@pytest.mark.parametrize("kind", WORKING)
@on_loop
async def test_django_is_secure_and_sees_the_real_client(tmp_path: Path, kind: str) -> None:
    async with (
        django(tmp_path) as dyno,
        router_behind(kind, local(dyno)) as run,
        front(kind, tmp_path / "front", run.port) as proxy,
        client_of(proxy) as session,
    ):
        headers = {**FORGED, "Host": host_of(proxy)}
        for _ in range(2):  # and over the connection that is kept
            async with session.get("/", headers=headers, server_hostname=HOST, allow_redirects=False) as answer:
                assert answer.status == 200, "SECURE_SSL_REDIRECT loops"
                seen = await answer.json()
            # As the proxy says, then the proxy itself; what the client says of itself is gone. By the PROXY protocol
            # the client is the peer, and what it says of itself is known to be its own: it stands first, as on Heroku.
            chain = f"6.6.6.6, {CLIENT}" if "protocol" in kind else f"{CLIENT}, 127.0.0.1"
            assert seen == {
                "secure": True,
                "uri": f"https://{host_of(proxy)}/",
                "fwd": chain,
                "port": str(proxy.port),
                "host": host_of(proxy),
                "more": [],
            }
        record = await run.record(2)
        assert (record.protocol, record.fwd) == ("https", chain.replace(", ", ",").encode())


@on_loop
async def test_a_request_that_came_in_the_clear_is_not_secure_whatever_it_says(tmp_path: Path) -> None:
    async with django(tmp_path) as dyno, bench(local(dyno), trusted_proxies=()) as run:
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{run.port}/", headers=headers, allow_redirects=False) as answer,
        ):
            assert answer.status == 301
        assert (await run.record()).protocol == "http"


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
@on_loop
async def test_the_plain_port_sends_clients_to_https(tmp_path: Path, kind: str) -> None:
    async with (
        ScriptedBackend(answering(OK)) as backend,
        router_behind(kind, backend) as run,
        front(kind, tmp_path / "front", run.port) as proxy,
        aiohttp.ClientSession() as session,
        session.post(
            f"http://{proxy.address}:{proxy.plain_port}/a?b", headers={"Host": HOST}, allow_redirects=False
        ) as answer,
    ):
        assert (answer.status, answer.headers["Location"]) == (308, f"https://{HOST}/a?b")
        assert not backend.wires


@pytest.mark.parametrize("kind", WORKING)
@on_loop
async def test_websockets_pass(tmp_path: Path, kind: str) -> None:
    async def echo(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        chat = next(iter(server.sockets)).getsockname()[1]
        async with (
            router_behind(kind, local(chat)) as run,
            front(kind, tmp_path / "front", run.port) as proxy,
            websockets.connect(
                f"wss://{host_of(proxy)}/chat",
                ssl=proxy.tls,
                host=proxy.address,
                port=proxy.port,
                local_addr=(CLIENT, 0),
            ) as connection,
        ):
            for message in ("first", b"b" * 70_000):
                await connection.send(message)
                assert await connection.recv() == message


@pytest.mark.parametrize("kind", WORKING)
@on_loop
async def test_events_and_bodies_pass_unbuffered(tmp_path: Path, kind: str) -> None:
    """An event is there before the next is made; the dyno has the first part of a body before the second is sent."""
    tick = asyncio.Semaphore(0)
    has_first = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            head = await wire.head()
            if b"/upload" in head:
                got = b""
                while b"first" not in got:
                    got += await wire.until(b"\r\n")
                has_first.set()
                while not got.endswith(b"0\r\n\r\n"):
                    got += await wire.until(b"\r\n")
                assert b"second" in got
                await wire.send(OK)
            else:
                await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 27\r\n\r\n")
                for number in range(3):
                    await tick.acquire()
                    await wire.send(b"data: %d\n\n" % number)
                await wire.send(b"end")

    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.wait_for(has_first.wait(), 10)
        yield b"second"

    async with (
        ScriptedBackend(script) as backend,
        router_behind(kind, backend) as run,
        front(kind, tmp_path / "front", run.port) as proxy,
        client_of(proxy) as session,
    ):
        headers = {"Host": host_of(proxy)}
        async with session.get("/events", headers=headers, server_hostname=HOST) as answer:
            for number in range(3):
                tick.release()
                event = b"data: %d\n\n" % number
                got = await asyncio.wait_for(answer.content.readexactly(len(event)), 10)
                assert got == event
        async with session.post("/upload", data=parts(), headers=headers, server_hostname=HOST) as answer:
            assert (answer.status, await answer.read()) == (200, b"hello")


@pytest.mark.parametrize("kind", WORKING)
@on_loop
async def test_large_bodies_arrive_whole(tmp_path: Path, kind: str) -> None:
    size = 5_000_000
    body = os.urandom(size)

    async def script(wire: Wire) -> None:
        while True:
            await wire.head()
            got = await wire.exactly(size)
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            await wire.send(got)

    async with (
        ScriptedBackend(script) as backend,
        router_behind(kind, backend) as run,
        front(kind, tmp_path / "front", run.port) as proxy,
        client_of(proxy) as session,
        session.post("/", data=io.BytesIO(body), headers={"Host": host_of(proxy)}, server_hostname=HOST) as answer,
    ):
        assert answer.status == 200
        assert hashlib.sha256(await answer.read()).digest() == hashlib.sha256(body).digest()


@on_loop
async def test_version_2_of_the_proxy_protocol_is_refused(tmp_path: Path) -> None:
    kind = "haproxy-proxy-protocol-v2"
    async with (
        ScriptedBackend(answering(OK)) as backend,
        router_behind(kind, backend) as run,
        front(kind, tmp_path / "front", run.port) as proxy,
        client_of(proxy) as session,
    ):
        with pytest.raises(aiohttp.ClientError):
            await session.get("/", headers={"Host": HOST}, server_hostname=HOST)
        assert not backend.wires
        text = generate_latest(run.router.metrics.registry).decode()
        assert 'dynod_router_refused_heads_total{reason="bad PROXY line"}' in text


# What Cloudflare documents that it sends to an origin, for a client at 203.0.113.7 that forges a field.
CLOUDFLARE = (
    b"GET / HTTP/1.1\r\nHost: app.example.com\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n"
    b"CF-Connecting-IP: 203.0.113.7\r\nCF-Ray: 8b1c2d3e4f5a6b7c-FRA\r\nCF-IPCountry: DE\r\n"
    b'CF-Visitor: {"scheme":"https"}\r\nCdn-Loop: cloudflare; loops=1\r\nAccept-Encoding: gzip, br\r\n'
    b"Connection: Keep-Alive\r\n\r\n"
)


@on_loop
async def test_cloudflares_tunnel_is_believed_as_it_asks_from_this_machine(tmp_path: Path) -> None:
    assert "service: http://127.0.0.1:5000" in (SAMPLES / "cloudflared.yml").read_text()
    async with django(tmp_path) as dyno, bench(local(dyno)) as run:
        answer = await run.ask(CLOUDFLARE)
        assert (answer.status, json.loads(answer.body)) == (
            200,
            {
                "secure": True,
                "uri": "https://app.example.com/",
                "fwd": "6.6.6.6, 203.0.113.7, 127.0.0.1",  # the second from the right is Cloudflare's word
                "port": "443",
                "host": None,
                "more": [],
            },
        )


@pytest.mark.parametrize(
    ("peer", "believed"), [("173.245.48.5", True), ("2606:4700::7", True), ("198.51.100.4", False)]
)
@on_loop
async def test_cloudflares_addresses_are_believed_and_no_others(peer: str, believed: bool) -> None:  # a table
    table = tomllib.loads((SAMPLES / "cloudflare.toml").read_text())
    settings = RouterSettings.from_mapping(table["router"])
    family = "TCP6" if ":" in peer else "TCP4"
    # The PROXY line is how a test on loopback gets a peer of any address.
    line = f"PROXY {family} {peer} {peer} 40000 80\r\n".encode()
    async with (
        ScriptedBackend(answering(OK)) as backend,
        bench(backend, settings=settings, proxy_protocol=True) as run,
    ):
        assert (await run.ask(line + CLOUDFLARE)).status == 200
        sent = backend.wires[0].got.decode().split("\r\n")
        assert f"X-Forwarded-For: 6.6.6.6, 203.0.113.7, {peer}" in sent
        assert f"X-Forwarded-Proto: {'https' if believed else 'http'}" in sent
        assert f"X-Forwarded-Port: {'443' if believed else '80'}" in sent
        assert "CF-Connecting-IP: 203.0.113.7" in sent
        assert (await run.record()).protocol == ("https" if believed else "http")


def test_cloudflares_sample_is_a_part_of_dynods_settings() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "dynod", "serve", "--config", str(SAMPLES / "cloudflare.toml"), "--check"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr


@on_loop
async def test_apps_behind_one_proxy_are_told_apart_by_host(tmp_path: Path) -> None:
    async with (
        ScriptedBackend(answering(OK.replace(b"hello", b"other"))) as other,
        ScriptedBackend(answering(OK)) as backend,
        router_behind("caddy", other) as run,
        front("caddy", tmp_path / "front", run.port) as proxy,
        client_of(proxy) as session,
    ):
        run.router.set_app("second", condition=AppCondition.SERVING, hosts=[HOST])
        run.router.add_backend("second", backend.backend)
        async with session.get("/", headers={"Host": host_of(proxy)}, server_hostname=HOST) as answer:
            assert await answer.read() == b"hello"
