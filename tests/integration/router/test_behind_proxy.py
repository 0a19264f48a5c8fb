"""Behind a real nginx with TLS: scheme and client are believed because nginx is trusted, and only because of that."""

import asyncio
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import websockets
from integration.router.bench import ScriptedBackend, Wire, bench, closed_port, on_loop
from integration.router.test_peers import child, local

from router import AppCondition
from support import installed


@pytest.fixture(autouse=True)
def tools() -> None:
    installed.program("nginx")
    installed.program("openssl")


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
    })

settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", SECURE_SSL_REDIRECT=True,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware"],
)
urlpatterns = [path("", seen)]
app = get_wsgi_application()
"""


def nginx_config(folder: Path, port: int, router: int) -> str:
    return f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 200; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map $http_upgrade $wanted {{ default upgrade; "" ""; }}
  upstream dynod {{ server 127.0.0.1:{router}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location / {{
      proxy_pass http://dynod; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Host $http_host; proxy_set_header Connection $wanted; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Port $server_port;
    }}
  }}
}}
"""


def readable(folder: Path) -> None:
    """nginx's workers are another user's."""
    folder.chmod(0o755)


async def made(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    assert await asyncio.wait_for(process.wait(), 20) == 0


@asynccontextmanager
async def nginx(folder: Path, router: int) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    await made(
        *(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ),
        *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
    )
    port = closed_port()
    (folder / "nginx.conf").write_text(nginx_config(folder, port, router))
    program = installed.program("nginx")
    process = await asyncio.create_subprocess_exec(
        *(program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.err"))
    )
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    break
        yield port, ssl.create_default_context(cafile=str(folder / "cert.pem"))
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


@on_loop
async def test_django_behind_nginx_is_secure_and_sees_the_real_client(tmp_path: Path) -> None:
    readable(tmp_path)
    (tmp_path / "site_under_test.py").write_text(DJANGO)
    dyno = closed_port()
    command = (sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{dyno}", "site_under_test:app")
    async with (
        child(*command, cwd=tmp_path, ready=r"Listening at: http://127\.0\.0\.1:(\d+)"),
        bench(local(dyno)) as run,
        nginx(tmp_path, run.port) as (port, tls),
        aiohttp.ClientSession() as session,
    ):
        forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http"}
        async with session.get(f"https://localhost:{port}/", ssl=tls, headers=forged) as answer:
            assert answer.status == 200, "SECURE_SSL_REDIRECT loops"
            seen = await answer.json()
        assert seen == {
            "secure": True,
            "uri": f"https://localhost:{port}/",
            "fwd": "127.0.0.1, 127.0.0.1",  # as nginx says, then nginx itself; what the client says is gone
            "port": str(port),
        }
        record = await run.record()
        assert (record.protocol, record.fwd) == ("https", b"127.0.0.1,127.0.0.1")
        url = f"http://127.0.0.1:{run.port}/"  # straight to the router, in the clear: sent to https
        async with session.get(url, allow_redirects=False) as answer:
            assert answer.status == 301


@on_loop
async def test_websockets_and_events_pass_behind_nginx(tmp_path: Path) -> None:
    readable(tmp_path)
    tick = asyncio.Semaphore(0)

    async def echo(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def events(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            await tick.acquire()
            await wire.send(b"data: %d\n\n" % number)

    async with websockets.serve(echo, "127.0.0.1", 0) as server, ScriptedBackend(events) as source:
        chat = next(iter(server.sockets)).getsockname()[1]
        async with bench(local(chat)) as run, nginx(tmp_path, run.port) as (port, tls):
            run.router.set_app("events", condition=AppCondition.SERVING, hosts=["127.0.0.1"])
            run.router.add_backend("events", source.backend)
            async with websockets.connect(f"wss://localhost:{port}/chat", ssl=tls) as connection:
                await connection.send("a" * 70_000)
                assert await connection.recv() == "a" * 70_000
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"https://127.0.0.1:{port}/events", ssl=tls) as answer,
            ):
                for number in range(3):
                    tick.release()
                    got = b""
                    while not re.search(rb"\n\n$", got):
                        got += await asyncio.wait_for(answer.content.readany(), 10)
                    assert got == b"data: %d\n\n" % number
