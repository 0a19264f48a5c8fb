"""Real servers as judges of what the router passes on: does nginx, does Node's http, read the same message in it?

    with judge("nginx", folder) as nginx:
        assert nginx.disagrees(head + body, method=b"POST", target=b"/", host=b"a", length=5) is None

A judge is sent the message and, on the same connection, a second request that only it and we know of. Where a server
reads another framing, it takes a part of the message for a request, or the second request for a part of the message:
the answers then are not two, or not to what was asked. Each answer is a 204 that says in fields what the server
understood, so that neither HEAD nor the length of an answer has to be thought of.

A server may refuse what the router passes on, that is its right; it may never read it differently.
"""

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support import installed

_NGINX: Final = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err crit;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_header_buffer_size 64k; large_client_header_buffers 8 128k; client_max_body_size 0;
  server {{
    listen unix:{folder}/socket;
    add_header X-Seen-Method $request_method; add_header X-Seen-Target $request_uri;
    add_header X-Seen-Host $http_host; add_header X-Seen-Length $content_length;
    location / {{ return 204; }}
  }}
}}
"""
_NODE: Final = """
const http = require('http');
const server = http.createServer({maxHeaderSize: 131072}, (request, response) => {
  let size = 0;
  request.on('data', (part) => { size += part.length; });
  request.on('end', () => {
    const latin = (text) => encodeURIComponent(text || '');
    response.writeHead(204, {
      'X-Seen-Method': request.method, 'X-Seen-Target': request.url, 'X-Seen-Host': latin(request.headers.host),
      'X-Seen-Length': request.headers['content-length'] || '', 'X-Seen-Body': size,
    });
    response.end();
  });
});
server.keepAliveTimeout = 0; server.requestTimeout = 0; server.headersTimeout = 0; server.timeout = 0;
server.listen(process.argv[1], () => console.log('listening'));
"""
_ANSWER_WITHIN_S: Final = 10.0
_REFUSES_WITHIN_S: Final = 1.0  # this once silence is an answer too, and a bad one
_FINAL: Final = 200  # below it an answer is interim
_SEEN: Final = 204  # what judges answer with
_SENTINEL: Final = b"GET /only-we-know-%d HTTP/1.1\r\nHost: sentinel\r\n\r\n"
_FIELD: Final = re.compile(rb"(?im)^X-Seen-(\w+): *(.*?)\r$")
_UNRESERVED_BY_NODE: Final = re.compile(rb"%([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    seen: dict[bytes, bytes]


class Judge:
    """One server, and one connection to it that is made anew whenever it was closed."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.refused = 0
        self.agreed = 0
        self._path = path
        self._number = 0
        self._socket: socket.socket | None = None
        self._got = b""

    def disagrees(self, message: bytes, *, method: bytes, target: bytes, host: bytes, length: int) -> str | None:
        """What the server read otherwise in a whole message; None if it read the same or refused it.

        `length` is that of the body, framing left out.
        """
        said = self._disagrees(message, method=method, target=target, host=host, length=length)
        if said is not None:
            self.close()  # there may be more to come, and the next message is not to pay for it
        return said

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _disagrees(self, message: bytes, *, method: bytes, target: bytes, host: bytes, length: int) -> str | None:
        self._number += 1
        answers = self._answers(message + _SENTINEL % self._number)
        sentinel = b"/only-we-know-%d" % self._number
        if not answers or answers[0].status != _SEEN:
            rest = [answer.seen.get(b"target") for answer in answers[1:]]
            if rest not in ([], [sentinel]):
                return f"{self.name} refused the message and served {rest} of it"
            self.close()
            if not self._refuses(message):
                return f"{self.name} refused what came behind the message, not the message"
            self.refused += 1
            return None
        if len(answers) != 2 or answers[1].seen.get(b"target") != sentinel:  # message and sentinel
            return f"{self.name} saw {[answer.seen for answer in answers]}"
        seen = answers[0].seen
        expected = {b"method": method, b"target": target, b"host": host}
        found = {name: seen.get(name, b"") for name in expected}
        if found != expected or (b"body" in seen and int(seen[b"body"]) != length):
            return f"{self.name} saw {seen}, not {expected} and {length} bytes"
        self.agreed += 1
        return None

    def _refuses(self, message: bytes) -> bool:
        """Whether the message alone is refused, at once; taking it, or waiting for more of it, is another framing."""
        sock = self._connected()
        sock.settimeout(_REFUSES_WITHIN_S)
        try:
            sock.sendall(message)
            while (status := self._answer(sock).status) < _FINAL:
                pass
            return status != _SEEN
        except (EOFError, ConnectionError):
            return True
        except TimeoutError:
            return False
        finally:
            self.close()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(_ANSWER_WITHIN_S)
            self._socket.connect(str(self._path))
        self._got = b""
        return self._socket

    def _answers(self, message: bytes) -> list[_Answer]:
        """Two answers, or those that came before the connection's end."""
        sock = self._connected()
        answers: list[_Answer] = []
        try:
            sock.sendall(message)
            while len(answers) < 2:  # message and sentinel
                answer = self._answer(sock)
                if answer.status >= 200:  # not an interim one
                    answers.append(answer)
        except (EOFError, ConnectionError):
            self.close()
        return answers

    def _answer(self, sock: socket.socket) -> _Answer:
        while (end := self._got.find(b"\r\n\r\n")) < 0:
            data = sock.recv(65536)
            if not data:
                raise EOFError
            self._got += data
        head, self._got = self._got[: end + 4], self._got[end + 4 :]
        status = int(head.split(b" ", 2)[1])
        seen = {name.lower(): value for name, value in _FIELD.findall(head)}
        if self.name == "node" and b"host" in seen:
            seen[b"host"] = _UNRESERVED_BY_NODE.sub(lambda match: bytes([int(match[1], 16)]), seen[b"host"])
        if length := re.search(rb"(?im)^Content-Length: *([0-9]+)\r$", head):
            while len(self._got) < int(length[1]):
                data = sock.recv(65536)
                if not data:
                    raise EOFError
                self._got += data
            self._got = self._got[int(length[1]) :]
        return _Answer(status, seen)


@contextlib.contextmanager
def judge(name: str, folder: Path) -> Iterator[Judge]:
    """A server, "nginx" or "node", in a folder of its own; ended afterwards."""
    program = installed.program(name)
    path = folder / "socket"
    if name == "nginx":
        folder.chmod(0o755)  # its workers are another user's
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder))
        command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.err")]
    else:
        command = [program, "-e", _NODE, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            if name == "node":
                assert process.stdout is not None
                assert process.stdout.readline() == b"listening\n"
            else:
                _until_it_listens(path, process)
            one = Judge(name, path)
            with contextlib.closing(one):
                yield one
        finally:
            process.terminate()


def _until_it_listens(path: Path, process: subprocess.Popen[bytes]) -> None:
    """nginx says nothing when it is ready: ask until somebody is there, or it has ended."""
    while process.poll() is None:
        with socket.socket(socket.AF_UNIX) as sock:
            if not sock.connect_ex(str(path)):
                return
    raise AssertionError(f"it ended with {process.returncode}")
