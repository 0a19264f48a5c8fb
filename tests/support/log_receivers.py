"""Who receives what drains send: HTTP as a test scripts it, rsyslog and syslog-ng as Debian has them, certificates.

Each is used as a context manager, listens on loopback, and is gone at the end.
"""

import contextlib
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from support import installed
from support.source_tree import REPOSITORY

TIMEOUT_S: Final = 30.0
RSYSLOG: Final = REPOSITORY / "tests" / ".rsyslog"
FRAME: Final = re.compile(rb"(\d+) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """A certificate authority of the test's, and a certificate of it for `localhost` and 127.0.0.1."""

    authority: Path
    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def trusting(self) -> ssl.SSLContext:
        """Of a client that trusts this authority."""
        return ssl.create_default_context(cafile=os.fspath(self.authority))


def certificates(folder: Path, *, name: str = "localhost") -> Certificates:
    """Made by openssl, valid for a day."""
    openssl = installed.program("openssl")
    folder.mkdir(parents=True, exist_ok=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]

    def make(*arguments: str) -> None:
        subprocess.run([openssl, "req", "-x509", *key, *arguments], cwd=folder, check=True, capture_output=True)

    make("-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem")
    make(
        *("-subj", f"/CN={name}", "-keyout", "leaf.key", "-out", "leaf.pem", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"),
    )
    return Certificates(authority=folder / "ca.pem", certificate=folder / "leaf.pem", key=folder / "leaf.key")


# --- HTTP -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One request, as it was on the wire."""

    head: bytes
    body: bytes
    connection: int  # counted from 0

    @property
    def request_line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode().split("\r\n")[1:]
        return dict(line.split(": ", 1) for line in lines if line)

    @property
    def messages(self) -> list[bytes]:
        """RFC 6587 undone."""
        return unframe(self.body)


def unframe(data: bytes) -> list[bytes]:
    """The messages in octet-counted frames, of which nothing may be left over."""
    found, at = [], 0
    while at < len(data):
        length = FRAME.match(data, at)
        assert length, data[at : at + 40]
        found.append(data[length.end() : length.end() + int(length[1])])
        assert len(found[-1]) == int(length[1])
        at = length.end() + int(length[1])
    return found


Answer = Callable[[int, Post], bytes | None]  # the bytes of the answer to the nth request (from 1); None: cut


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} Whatever", "Content-Length: 0", *headers, "", ""]).encode()


class HttpReceiver:
    """A thread for each connection; answers 200 unless the test says otherwise."""

    def __init__(self, answer: Answer | None = None, *, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._answer = answer or (lambda _number, _post: status(200))
        self._context = context
        self.posts: list[Post] = []
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in tuple(self._threads):
            thread.join(TIMEOUT_S if kind is None else 0.0)
            assert kind is not None or not thread.is_alive()

    @property
    def messages(self) -> list[bytes]:
        """Of every request, in the order in which they came."""
        with self._changed:
            return [message for post in self.posts for message in post.messages]

    def wait_for(self, holds: Callable[[list[Post]], object], timeout_s: float = TIMEOUT_S) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.posts), timeout_s), f"{len(self.posts)} requests came"

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT_S)
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, number), daemon=True)
            self._threads.append(thread)
            thread.start()
            number += 1

    def _serve(self, raw: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            connection = stack.enter_context(
                self._context.wrap_socket(raw, server_side=True) if self._context is not None else raw
            )
            if connection is not raw:
                self.connections.append(connection)  # wrapping has emptied the plain one
            stream = stack.enter_context(connection.makefile("rb"))
            while (head := _head(stream.readline)) is not None:
                length = re.search(rb"\r\nContent-Length: (\d+)\r\n", head)
                body = stream.read(int(length[1])) if length else b""
                post = Post(head=head, body=body, connection=number)
                with self._changed:
                    self.posts.append(post)
                    count = len(self.posts)
                    self._changed.notify_all()
                answer = self._answer(count, post)
                if answer is None:
                    return
                connection.sendall(answer)


def _head(readline: Callable[[], bytes]) -> bytes | None:
    lines = []
    while line := readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return None


# --- TCP as a test wants it -------------------------------------------------------------------------------------------


class TcpReceiver:
    """Takes one connection after the other and keeps all that it gets, unless it is told not to read."""

    def __init__(self, *, reads: bool = True, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._context = context
        self._reads = reads
        self.data = b""
        self.connections: list[socket.socket] = []
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=8)
        if not reads:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()

    def wait_for(self, holds: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, TIMEOUT_S), self.data[-200:]

    def reset(self) -> None:
        """The newest connection, with a RST."""
        self.wait_for(lambda: self.connections)
        connection = self.connections[-1]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def _run(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                connection = self._context.wrap_socket(raw, server_side=True) if self._context is not None else raw
                with self._changed:
                    self.connections.append(connection)
                    self._changed.notify_all()
                while self._reads and (data := connection.recv(1 << 16)):
                    with self._changed:
                        self.data += data
                        self._changed.notify_all()


# --- rsyslog and syslog-ng --------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class SyslogDaemon:
    """A running daemon, and the file that it writes: PRI|HOST|APPNAME|PROCID|MSGID|MSG a line."""

    port: int
    out: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def lines(self, count: int) -> list[str]:
        """Wait until there are so many."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            found = self.out.read_text(errors="backslashreplace").splitlines() if self.out.exists() else []
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} lines came"
            assert self.process.poll() is None, "it has ended"
            time.sleep(0.02)  # a file tells nobody that it has grown


@contextlib.contextmanager
def rsyslog(folder: Path, certificate: Certificates | None = None) -> Iterator[SyslogDaemon]:
    """As Debian packages it, unpacked by `make test-tools`."""
    program = RSYSLOG / "usr/sbin/rsyslogd"
    if not (RSYSLOG / ".unpacked").exists():
        installed.missing("tests/.rsyslog (make test-tools)")
    (libraries,) = (path.parent for path in RSYSLOG.glob("usr/lib/*/rsyslog"))
    port, out = _free_port(), folder / "rsyslog.out"
    folder.mkdir(parents=True, exist_ok=True)
    tls = ""
    module = 'module(load="imtcp")'
    if certificate is not None:
        tls = (
            f'global(defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{certificate.authority}" '
            f'defaultNetstreamDriverCertFile="{certificate.certificate}" '
            f'defaultNetstreamDriverKeyFile="{certificate.key}")\n'
        )
        module = 'module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")'
    config = folder / "rsyslog.conf"
    config.write_text(
        f'global(workDirectory="{folder}" maxMessageSize="64k")\n{tls}{module}\n'
        'template(name="t" type="string" string="%pri%|%hostname%|%app-name%|%procid%|%msgid%|%msg%\\n")\n'
        f'ruleset(name="r"){{ action(type="omfile" file="{out}" template="t") }}\n'
        f'input(type="imtcp" address="127.0.0.1" port="{port}" supportOctetCountedFraming="on" ruleset="r")\n'
    )
    command = [str(program), "-n", "-f", str(config), "-i", str(folder / "pid"), "-M", str(libraries / "rsyslog")]
    yield from _running(command, port, out, folder, {"LD_LIBRARY_PATH": str(libraries)})


@contextlib.contextmanager
def syslog_ng(folder: Path, certificate: Certificates | None = None) -> Iterator[SyslogDaemon]:
    """As Debian packages it."""
    program = shutil.which("syslog-ng", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        program = installed.program("syslog-ng")
    port, out = _free_port(), folder / "syslog-ng.out"
    folder.mkdir(parents=True, exist_ok=True)
    transport = 'transport("tcp")'
    if certificate is not None:
        transport = (
            f'transport("tls") tls(key-file("{certificate.key}") cert-file("{certificate.certificate}") '
            "peer-verify(optional-untrusted))"
        )
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"\((\d+\.\d+)", version) or re.search(r"(\d+\.\d+)", version)
    assert number is not None
    config = folder / "syslog-ng.conf"
    config.write_text(
        f"@version: {number[1]}\noptions {{ keep-hostname(yes); log-msg-size(65536); }};\n"
        f'source s {{ syslog(ip("127.0.0.1") port({port}) {transport}); }};\n'
        f'destination d {{ file("{out}" template("$PRI|$HOST|$PROGRAM|$PID|$MSGID|$MESSAGE\\n") flush-lines(1)); }};\n'
        "log { source(s); destination(d); };\n"
    )
    command = [program, "-F", "-f", str(config), "-R", str(folder / "persist"), "-c", str(folder / "ctl")]
    yield from _running([*command, "-p", str(folder / "pid"), "--no-caps"], port, out, folder, {})


def _running(
    command: list[str], port: int, out: Path, folder: Path, environment: dict[str, str]
) -> Iterator[SyslogDaemon]:
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, (folder / "said").read_text()
            assert time.monotonic() < deadline, (folder / "said").read_text()
            time.sleep(0.05)  # it tells nobody when it listens
        yield SyslogDaemon(port=port, out=out, process=process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
