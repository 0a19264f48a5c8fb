"""The web dyno of a static site: this file is copied into the slug, and run there by the machine's own python3.

So it imports nothing but the standard library, and nothing of dynod. Settings lie beside it, in settings.json, in the
words of static.json. It answers GET and HEAD, with validators (RFC 9110, 13), never leaves its root, and shows no file
whose name begins with a dot. Compression, TLS and caches belong to what stands before it.
"""

import contextlib
import json
import mimetypes
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

OF_THE_APP: Final = frozenset({"Procfile", "app.json", "static.json", "Aptfile"})  # no part of a site at the app's top
PIECE: Final = 256 * 1024  # bytes read and sent at a time
IDLE_S: Final = 75.0  # seconds until a connection that says nothing is closed: longer than a proxy keeps one
FINISH_S: Final = 25.0  # seconds that answers under way have after SIGTERM; SIGKILL comes after 30
TEXTS: Final = ("application/javascript", "application/json", "image/svg+xml")


class Site:
    """The files below `root` and the settings of static.json: what a path leads to."""

    def __init__(self, root: Path, settings: Mapping[str, object]) -> None:
        self.root = root.resolve()
        self._settings = settings

    @property
    def https_only(self) -> bool:
        return bool(self._settings.get("https_only"))

    def redirect(self, path: str) -> tuple[int, str] | None:
        """Status and place for a path that static.json sends elsewhere."""
        target = self._table("redirects").get(path)
        if not isinstance(target, dict) or "url" not in target:
            return None
        status = target.get("status", HTTPStatus.MOVED_PERMANENTLY)
        known = isinstance(status, int) and 300 <= status < 400  # noqa: PLR2004 - the class of redirections
        return (status if known else HTTPStatus.MOVED_PERMANENTLY), str(target["url"])

    def find(self, path: str) -> Path | str | None:
        """The file for the decoded path of a URL; the path to go to, for a folder named without its last slash."""
        parts = [part for part in path.split("/") if part not in {"", "."}]
        if ".." in parts or "\0" in path or any(part.startswith(".") and part != ".well-known" for part in parts):
            return None
        if parts and parts[0] in OF_THE_APP:
            return None
        place = self.root.joinpath(*parts)
        if self._folder(place):
            if self._servable(place / "index.html"):
                return place / "index.html" if path.endswith("/") else f"/{'/'.join(parts)}/"
        elif not path.endswith("/"):
            named = [place, place.with_name(f"{place.name}.html")] if self._settings.get("clean_urls") else [place]
            if (file := next(filter(self._servable, named), None)) is not None:
                return file
        return self._routed(path)

    def error_page(self) -> Path | None:
        page = self._settings.get("error_page")
        file = self.root / page.lstrip("/") if isinstance(page, str) else None
        return file if file is not None and self._servable(file) else None

    def headers(self, path: str) -> dict[str, str]:
        """Those that static.json adds for a path: in the order of the file, later ones win."""
        found: dict[str, str] = {}
        for pattern, headers in self._table("headers").items():
            if isinstance(headers, dict) and matches(pattern, path):
                found.update({str(name): str(value) for name, value in headers.items()})
        return {name: value for name, value in found.items() if not re.search(r"[\r\n]", name + value)}

    def _routed(self, path: str) -> Path | None:
        for pattern, target in self._table("routes").items():
            file = self.root / str(target).lstrip("/")
            if matches(pattern, path) and self._servable(file):
                return file
        return None

    def _table(self, name: str) -> Mapping[str, object]:
        table = self._settings.get(name)
        return table if isinstance(table, dict) else {}

    def _folder(self, place: Path) -> bool:
        try:
            return place.is_dir() and self._inside(place)
        except OSError:  # a name that is too long
            return False

    def _servable(self, file: Path) -> bool:
        try:
            return file.is_file() and self._inside(file)
        except OSError:
            return False

    def _inside(self, place: Path) -> bool:
        return place.resolve().is_relative_to(self.root)


def matches(pattern: str, path: str) -> bool:
    """`*` is anything within one folder, `**` anything at all."""
    parts = re.split(r"(\*\*|\*)", pattern)
    expression = "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(expression, path) is not None


class SiteServer(ThreadingHTTPServer):
    """A thread for each connection of the router, which keeps few of them idle, and those briefly."""

    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        self.site = site
        self._is_stopping = False
        self._under_way = 0
        self._changed = threading.Condition()
        super().__init__(address, Handler)

    def stop(self) -> None:
        """No more connections. For a signal's handler, which may come anywhere: nothing is raised, or waited for."""
        self._is_stopping = True
        with contextlib.suppress(OSError):  # called a second time
            self.socket.shutdown(socket.SHUT_RDWR)  # which wakes the loop

    def service_actions(self) -> None:
        """What the loop does after each connection."""
        if self._is_stopping:
            raise Stopped

    def begin(self) -> None:
        with self._changed:
            self._under_way += 1

    def end(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait for the answers under way; connections that only wait go with the process."""
        with self._changed:
            self._changed.wait_for(lambda: self._under_way == 0, FINISH_S)


class Handler(BaseHTTPRequestHandler):
    """One connection of the router."""

    protocol_version = "HTTP/1.1"
    server_version = "static"
    sys_version = ""
    timeout = IDLE_S
    disable_nagle_algorithm = True
    server: SiteServer

    def handle_one_request(self) -> None:
        self._is_read = False
        try:
            super().handle_one_request()
        finally:
            if self._is_read:
                self.server.end()

    def parse_request(self) -> bool:
        """From here on there is a request: it has been read, and is answered whatever signal comes."""
        self._is_read = True
        self.server.begin()
        return super().parse_request()

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as BaseHTTPRequestHandler calls it
        """Nothing: the router has a line for each request."""

    def _answer(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # there is a body that nobody reads
        site = self.server.site
        url = urlsplit(f"http://site{self.path}" if self.path.startswith("/") else self.path)
        path = unquote(url.path, errors="replace") or "/"
        query = f"?{url.query}" if url.query else ""
        redirect = site.redirect(path)
        if site.https_only and self.headers.get("X-Forwarded-Proto") == "http":
            self._redirect(HTTPStatus.MOVED_PERMANENTLY, f"https://{self.headers.get('Host', '')}{url.path}{query}")
        elif redirect is not None:
            self._redirect(*redirect)
        elif isinstance(found := site.find(path), str):
            self._redirect(HTTPStatus.MOVED_PERMANENTLY, quote(found) + query)
        elif found is not None:
            self._file(found, path, HTTPStatus.OK)
        elif (page := site.error_page()) is not None:
            self._file(page, path, HTTPStatus.NOT_FOUND)
        else:
            self._plain(HTTPStatus.NOT_FOUND)

    def _file(self, file: Path, path: str, status: int) -> None:
        try:
            stream = file.open("rb")
        except OSError:
            self._plain(HTTPStatus.NOT_FOUND)
            return
        with stream:
            about = os.fstat(stream.fileno())
            tag = f'"{about.st_mtime_ns:x}-{about.st_size:x}"'
            headers = {"ETag": tag, "Last-Modified": formatdate(about.st_mtime, usegmt=True)}
            headers |= self.server.site.headers(path)
            if status == HTTPStatus.OK and self._unchanged(tag, about.st_mtime):
                self._head(HTTPStatus.NOT_MODIFIED, headers)
                return
            known = {name.lower() for name in headers}
            more = {"Content-Type": content_type(file.name), "X-Content-Type-Options": "nosniff"}
            headers |= {name: value for name, value in more.items() if name.lower() not in known}
            self._head(status, headers | {"Content-Length": str(about.st_size)})
            left = about.st_size if self.command == "GET" else 0
            while left > 0:
                piece = stream.read(min(PIECE, left))
                if not piece:  # it became shorter: the promised length is not kept, and the connection says so
                    self.close_connection = True
                    return
                self.wfile.write(piece)
                left -= len(piece)

    def _unchanged(self, tag: str, changed: float) -> bool:
        wanted = self.headers.get("If-None-Match")
        if wanted is not None:  # goes before the date (RFC 9110, 13.2.2)
            return wanted.strip() == "*" or tag in [each.strip().removeprefix("W/") for each in wanted.split(",")]
        try:
            since = parsedate_to_datetime(self.headers.get("If-Modified-Since", ""))
        except (TypeError, ValueError):
            return False
        since = since.replace(tzinfo=UTC) if since.tzinfo is None else since
        return datetime.fromtimestamp(int(changed), UTC) <= since

    def _redirect(self, status: int, place: str) -> None:
        self._plain(status, {"Location": re.sub(r"[\r\n]", "", place)})

    def _plain(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        body = f"{HTTPStatus(status).phrase}\n".encode()
        self._head(status, {"Content-Type": "text/plain", "Content-Length": str(len(body)), **(headers or {})})
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def content_type(name: str) -> str:
    """By the name's end. What is compressed already is sent as it is, and is no text."""
    kind, encoding = mimetypes.guess_type(name)
    if kind is None or encoding:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind in TEXTS else kind


class Stopped(Exception):  # noqa: N818 - no error: SIGTERM has come
    """Raised out of the loop that accepts, and in no other place: what handles a connection would swallow it."""


def serve(root: Path, settings: Mapping[str, object], port: int) -> None:
    """Until SIGTERM: then no new connection is taken, and answers under way are finished."""
    with SiteServer(("0.0.0.0", port), Site(root, settings)) as server:  # noqa: S104 - Heroku: on all interfaces
        signal.signal(signal.SIGTERM, lambda _number, _frame: server.stop())
        sys.stdout.write(f"Serving the site on port {port}\n")
        sys.stdout.flush()
        try:
            server.serve_forever(poll_interval=3600.0)  # nothing but a signal ends it
        except Stopped:
            server.finish()


if __name__ == "__main__":
    beside = Path(__file__).resolve().parent
    declared = json.loads((beside / "settings.json").read_text())
    serve(beside.parent.parent / declared["root"], declared, int(os.environ.get("PORT", "5000")))
