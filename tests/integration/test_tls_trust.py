"""Whom dynod trusts over TLS: the system's authorities, read as somebody is asked and not as a core starts."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dynod.builds.fetching import fetched
from dynod.core.incidents import Notice, Trouble
from dynod.core.source_url import SourceUrlError
from dynod.core.webhook import Webhook
from dynod.kept_troubles import KeptMessages
from dynod.webhook_sender import WebhookSender
from support.log_receivers import Certificates, certificates

TIMEOUT_S = 30.0

STARTS_UNREAD = """
import json, os, ssl
from dynod.tls_trust import left_unread
with left_unread():
    import aiohttp.connector as made
known = ssl.create_default_context(cafile=os.environ["AUTHORITY"]).cert_store_stats()["x509_ca"]
contexts = [made._SSL_CONTEXT_VERIFIED, made._SSL_CONTEXT_UNVERIFIED]
print(json.dumps([[each.cert_store_stats()["x509"] for each in contexts], os.environ.get("SSL_CERT_FILE"), known]))
"""


class Answers(BaseHTTPRequestHandler):
    """Says yes to all."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"code")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass


class Quiet(ThreadingHTTPServer):
    """A client that does not trust it goes away: that is no error of the server's."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def url(authority: Certificates) -> Iterator[str]:
    server = Quiet(("127.0.0.1", 0), Answers)
    server.socket = authority.server().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("own", [None, "mine.pem"])
def test_what_is_imported_at_a_start_reads_no_certificates(own: str | None, authority: Certificates) -> None:
    """And the variable by which that is done is as it was."""
    clean = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    variables = {**clean, **({"SSL_CERT_FILE": own} if own is not None else {}), "AUTHORITY": str(authority.authority)}
    told = subprocess.run([sys.executable, "-c", STARTS_UNREAD], env=variables, capture_output=True, check=True)
    assert json.loads(told.stdout) == [[0, 0], own, 1]


def test_a_source_is_fetched_from_whom_the_system_trusts(
    url: str, authority: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch() -> bytes:
        async with aclosing(fetched(url, private=True)) as pieces:
            return b"".join([piece async for piece in pieces])

    monkeypatch.setenv("SSL_CERT_FILE", str(authority.authority))
    assert asyncio.run(fetch()) == b"code"
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    with pytest.raises(SourceUrlError, match="ClientConnectorCertificateError"):
        asyncio.run(fetch())


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_webhook_is_sent_to_whom_the_system_trusts(
    url: str, authority: Certificates, monkeypatch: pytest.MonkeyPatch, *, is_trusted: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.authority) if is_trusted else os.devnull)
    at = datetime(2026, 11, 24, tzinfo=UTC)
    webhook = Webhook(
        id="hook",
        app_id="shop",
        url=url,
        include=("api:release",),
        level="sync",
        secret="",
        authorization="",
        created_at=at,
        updated_at=at,
    )
    notice = Notice(app="shop", trouble=Trouble.RELEASE, subject="v3", recovered=False, detail="", since=0.0, times=1)

    async def told() -> tuple[int | None, str]:
        tried = asyncio.Event()

        def note(_key: str, _value: str | None) -> None:
            if any(sending.tries for sending in sender.deliveries(["hook"])):
                tried.set()

        async with asyncio.TaskGroup() as group:
            sender = WebhookSender(group, name_of=lambda _id: "shop", random=lambda: 0.5, notes=KeptMessages({}, note))
            sender.know([webhook])
            sender.tell(notice)
            async with asyncio.timeout(TIMEOUT_S):
                await tried.wait()
            [sending] = sender.deliveries(["hook"])
            await sender.close()
        return sending.last_code, sending.last_error

    assert asyncio.run(told()) == ((200, "") if is_trusted else (None, "no connection"))
