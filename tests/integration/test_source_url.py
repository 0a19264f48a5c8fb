"""A source that is fetched: from a real server, with its redirects, and never from where it may not be."""

import asyncio
import contextlib
import hashlib
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from dynod.builds.fetching import fetched
from dynod.core.source_url import SourceUrlError
from dynod.platform_api.requests import ApiError
from support import processes
from support.serve import Serve
from support.tarballs import tarball

if TYPE_CHECKING:
    from dynod.platform_api.schema import Build

pytestmark = pytest.mark.timeout(120)


class Answers(BaseHTTPRequestHandler):
    """What this server says, by path: a status, where to go on, a body."""

    said: dict[str, tuple[int, str, bytes]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, location, body = self.said.get(self.path, (404, "", b""))
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass


class Server:
    def __init__(self) -> None:
        self.said: dict[str, tuple[int, str, bytes]] = {}
        self.asked: list[str] = []
        handler = type("Handler", (Answers,), {"said": self.said, "asked": self.asked})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server.server_port}{path}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def fetch(url: str, *, private: bool) -> bytes:
    async def all_of_it() -> bytes:
        async with aclosing(fetched(url, private=private)) as pieces:
            return b"".join([piece async for piece in pieces])

    return asyncio.run(all_of_it())


def test_redirects_are_followed_a_few_times(server: Server) -> None:
    server.said |= {
        "/x": (200, "", b"x" * 600_000),
        "/old": (302, "/x", b""),
        "/loop": (302, "/loop", b""),
        "/away": (301, "file:///etc/passwd", b""),
    }
    assert fetch(server.url("/x"), private=True) == fetch(server.url("/old"), private=True) == b"x" * 600_000
    with pytest.raises(SourceUrlError, match="leads on and on"):
        fetch(server.url("/loop"), private=True)
    assert server.asked.count("/loop") == 6
    for path, why in (("/away", "expected the get_url"), ("/gone", "answers with status 404")):
        with pytest.raises(SourceUrlError, match=why):
            fetch(server.url(path), private=True)


def test_this_machine_is_not_asked_by_whatever_name(server: Server) -> None:
    """Also where a name leads here only once it is resolved."""
    server.said["/x"] = (200, "", b"secret")
    for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001"):
        with pytest.raises(SourceUrlError):
            fetch(server.url("/x", host), private=False)
    assert server.asked == []


def test_a_build_fetches_its_source(server: Server, tmp_path: Path) -> None:
    with Serve(tmp_path / "state", toml="[dynos]\nsettle_s = 0.2\n[builds]\nprivate_sources = true\n") as serve:
        serve.wait_until_ready()
        serve.done("apps:create", "shop")
        files = {
            "Procfile": f"clock: exec {sys.executable} -c 'import signal; signal.pause()'\n",
            "app.json": f'{{"env": {{"{processes.MARK}": "{serve.mark}"}}}}',
        }
        server.said |= {"/v1.tgz": (200, "", tarball(files)), "/page": (200, "", b"<html>")}
        created = serve.done("builds:create", "--source-url", server.url("/v1.tgz"), "--version", "v1")
        assert "-----> Fetching source from http://127.0.0.1\n" in created.stdout
        assert "Released v3" in created.stdout
        for path, why in (("/page", "This is no gzipped tar."), ("/gone", "answers with status 404.")):
            failed = serve.dynod("builds:create", "--source-url", server.url(path))
            assert failed.returncode == 1
            assert f" !     {why}" in failed.stdout or why in failed.stdout
            assert "Push failed" in failed.stdout
        assert "clock" in serve.known_app("shop").formation()
        right = hashlib.sha256(server.said["/v1.tgz"][2]).hexdigest()
        with contextlib.closing(serve.client) as client:
            for checksum, status in ((f"SHA256:{'0' * 64}", "failed"), (f"SHA256:{right.upper()}", "succeeded")):
                blob = {"url": server.url("/v1.tgz"), "checksum": checksum}
                build = cast("Build", client.send("POST", "/apps/shop/builds", {"source_blob": blob}))
                said = serve.done("builds:output", build["id"], "-a", "shop").stdout
                assert (f"the source's checksum is SHA256:{right}, not {checksum}" in said) == (status == "failed"), (
                    said
                )
                assert client.build("shop", build["id"])["status"] == status
            with pytest.raises(ApiError, match="checksum"):
                client.send("POST", "/apps/shop/builds", {"source_blob": {**blob, "checksum": "MD5:0"}})
