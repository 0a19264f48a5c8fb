"""A connection to the API of another machine's dynod: ssh, and `dynod api-stdio` at its other end.

The client sees a socket, one end of a pair; ssh has the other one as stdin and stdout. Each connection is an ssh of
its own: whoever wants them to share one tells ssh so (ControlMaster). It is the user's ssh with the user's settings,
and may ask for passwords and host keys at the terminal. Standard library only.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from typing import IO, Final

from dynod.core.ssh_host import REMOTE, SshHost
from dynod.platform_api.finding import Daemon, NoDaemonError
from dynod.platform_api.http_connection import HttpConnection

# The user's settings may open forwards that the first ssh has already, and run something else there than is meant.
OPTIONS: Final = ("-T", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none")
ASKING_S: Final = 300.0  # somebody looks for a password; how long a dead network is waited for is ssh's to say
ENDING_S: Final = 2.0
PROBE: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUser-Agent: dynod\r\n\r\n"
_LONGEST_GREETING: Final = 65_536  # bytes that a login shell may print before dynod answers
_ANSWER: Final = re.compile(
    rb"HTTP/1\.1 (?P<status>[0-9]{3}) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*?Content-Length: (?P<length>[0-9]{1,5})\r\n"
    rb"(?:[^\r\n]+\r\n)*\r\n",
    re.IGNORECASE,
)
_OURS: Final = b"dynod: "
_MOST_WORDS: Final = 100  # lines that are remembered, of either kind
_OK: Final = 200
_NOT_FOUND: Final = 127  # a shell's status for a command that is not there
# Ctrl-C and the like are for us: of an attached session they go to the dyno, and ssh must live to carry them.
_FOR_US: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Said:
    """What ssh has said on stderr of one client, so that ten attempts in a second say it once."""

    def __init__(self) -> None:
        self._lines: set[bytes] = set()

    def show(self, line: bytes) -> None:
        """Pass it on, as soon as it is there: it may ask to touch a key."""
        if line in self._lines:
            return
        if len(self._lines) < _MOST_WORDS:
            self._lines.add(line)
        with contextlib.suppress(OSError):
            os.write(2, line)


class SshConnection(HttpConnection):
    """An HTTP connection through an ssh of its own."""

    def __init__(self, daemon: Daemon, timeout_s: float, said: Said) -> None:
        super().__init__(timeout_s)
        assert daemon.host is not None  # noqa: S101 (the client asks)
        self._host: SshHost = daemon.host
        self._ssh = daemon.ssh
        self._said = said
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        """Open it, and wait until the daemon there answers. Raises NoDaemonError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = self._start(theirs)
        except BaseException:
            ours.close()
            raise
        words = _Words(process.stderr, self._said)
        try:
            ours.settimeout(ASKING_S)
            self._admit(_probe(ours), process, words)
        except BaseException:
            ours.close()
            process.terminate()  # it may be asking for a password that nobody needs any more
            process.wait()
            raise
        ours.settimeout(self.timeout)
        self._process = process
        self.sock = ours

    def close(self) -> None:
        """Let go of it; ssh ends by itself. It is not killed: others may share its connection (ControlMaster)."""
        super().close()
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_S)

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_US)
        try:
            return subprocess.Popen(  # noqa: S603 (a list of checked words, and no shell)
                self._host.command(self._ssh, OPTIONS, REMOTE),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise NoDaemonError(f"{self._host}: {self._ssh[0]} cannot be run: {error.strerror}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _admit(self, status: int | None, process: subprocess.Popen[bytes], words: "_Words") -> None:
        if status is None:
            raise NoDaemonError(self._why(process, words))
        if status != _OK:
            raise NoDaemonError(f"{self._host}: dynod answers with status {status}: try again")

    def _why(self, process: subprocess.Popen[bytes], words: "_Words") -> str:
        """There was no answer."""
        try:
            status = process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            return f"{self._host}: no answer from a dynod there"
        from_there = words.of_dynod()
        if from_there:
            return "\n".join(f"{self._host}: {line}" for line in from_there)
        if status == _NOT_FOUND:
            return f"{self._host}: there is no dynod on the PATH that ssh has there"
        return f"{self._host}: no connection: ssh has ended with status {status}"


class _Words:
    """Reads the stderr of one ssh to its end: dynod's own lines are kept for a message, all others are shown."""

    def __init__(self, stderr: IO[bytes] | None, said: Said) -> None:
        assert stderr is not None  # noqa: S101 (a pipe was asked for)
        self._stderr = stderr
        self._said = said
        self._kept: list[str] = []
        # A daemon: what ssh leaves behind in the background (ControlPersist) may hold the pipe open.
        self._thread = threading.Thread(target=self._read, name="ssh's stderr", daemon=True)
        self._thread.start()

    def of_dynod(self) -> list[str]:
        """The lines of the dynod there, without its name. For after ssh has ended."""
        self._thread.join(ENDING_S)
        return list(self._kept)

    def _read(self) -> None:
        with self._stderr:
            for line in self._stderr:
                if not line.startswith(_OURS):
                    self._said.show(line)
                elif len(self._kept) < _MOST_WORDS:
                    text = line.removeprefix(_OURS).decode("utf-8", "replace").strip()
                    self._kept.append("".join(each if each.isprintable() else "?" for each in text))


def _probe(connection: socket.socket) -> int | None:
    """Ask whether the daemon answers, past what a login shell prints; the status, or None where the connection ends.

    Nothing else comes before that answer, and nothing after it until it is asked for.
    """
    seen = b""
    try:
        connection.sendall(PROBE)
        while len(seen) < _LONGEST_GREETING:
            answer = _ANSWER.search(seen)
            if answer is not None and len(seen) >= answer.end() + int(answer["length"]):
                return int(answer["status"])
            data = connection.recv(4096)
            if not data:
                return None
            seen += data
    except OSError:
        return None
    return None
