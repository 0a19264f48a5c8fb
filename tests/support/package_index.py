"""Indexes of packages on loopback: Python's (PEP 503) and npm's, with packages that are made here.

They count what is asked of them, so that a test can tell that a build has fetched nothing.
"""

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar


class PackageIndex:
    """What is served by its path, and every path that was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.asked: list[str] = []
        self.url = ""

    def add_wheel(self, name: str, version: str, files: Mapping[str, str], *, scripts: str = "") -> None:
        """A pure Python wheel, in an index below `/simple/`. `scripts`: lines of `[console_scripts]`."""
        wheel = f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        contents = dict(files) | {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": f"[console_scripts]\n{scripts}\n",
        }
        contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path, text in contents.items():
                archive.writestr(path, text)
        self.files[f"/files/{wheel}"] = ("application/octet-stream", packed.getvalue())
        there = self.files.get(f"/simple/{name}/", ("", b""))[1]
        link = f'<a href="/files/{wheel}">{wheel}</a>\n'.encode()
        self.files[f"/simple/{name}/"] = ("text/html", there + link)

    def add_npm(self, name: str, version: str, files: Mapping[str, str]) -> str:
        """A package in an npm registry below `/npm/`; returns the integrity that a lock file has of it."""
        packed = io.BytesIO()
        manifest = {"name": name, "version": version}
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path, text in {"package.json": json.dumps(manifest), **files}.items():
                member = tarfile.TarInfo(f"package/{path}")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()}"
        path = f"/npm/{name}/-/{name}-{version}.tgz"
        self.files[path] = ("application/octet-stream", packed.getvalue())
        dist = {"tarball": f"{self.url}{path}", "integrity": integrity}
        document = {"name": name, "dist-tags": {"latest": version}, "versions": {version: {**manifest, "dist": dist}}}
        self.files[f"/npm/{name}"] = ("application/json", json.dumps(document).encode())
        return integrity


@contextmanager
def package_index() -> Iterator[PackageIndex]:
    """On a port of 127.0.0.1, until the block ends."""
    index = PackageIndex()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        served: ClassVar[PackageIndex] = index

        def do_GET(self) -> None:
            self.served.asked.append(self.path)
            kind, content = self.served.files.get(self.path, ("", b""))
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as it is called)
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
