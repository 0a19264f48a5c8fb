"""A WSGI app that serves what Node.js has built."""

from collections.abc import Callable, Iterable
from pathlib import Path


def app(_environ: dict[str, object], start: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """The one file."""
    start("200 OK", [("Content-Type", "text/javascript")])
    return [Path("assets/app.js").read_bytes()]
