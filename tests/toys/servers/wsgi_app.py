"""The app of README.md for WSGI servers."""

from collections.abc import Callable, Iterable
from typing import Any

EVENTS = [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


def app(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    body: bytes = environ["wsgi.input"].read()
    method = ("X-Method", environ["REQUEST_METHOD"])
    match environ["PATH_INFO"]:
        case "/echo":
            start_response("200 OK", [("Content-Length", str(len(body))), method])
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
        case "/parts":
            start_response("200 OK", [("Content-Type", "application/octet-stream")])
            return (body[start : start + 10_000] for start in range(0, len(body), 10_000))
        case "/none":
            start_response("204 No Content", [method])
            return []
        case "/same":
            start_response("304 Not Modified", [("ETag", '"x"')])
            return []
        case "/events":
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            return iter(EVENTS)
    start_response("404 Not Found", [("Content-Length", "0")])
    return []
