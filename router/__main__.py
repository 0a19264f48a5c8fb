"""The router as a program: `python -m router --listen HOST:PORT --backend [LABEL=]HOST:PORT …`.

A composition root: reads arguments and the TOML file, makes the loop, the sockets and the one app, writes the access
log, ends on SIGTERM or SIGINT. Standard library's argparse, because this program has no verbs and starts fast.
"""

import argparse
import asyncio
import gc
import signal
import socket
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import uvloop

from router.core.backend import Backend
from router.core.pool import AppCondition
from router.core.request_record import RequestRecord
from router.errors import SettingsError
from router.record_lines import lines
from router.server import Router
from router.settings import RouterSettings

_APP = "app"
_BACKLOG = 4096
_TOP_PORT = 65535
_NOT_ROUTER_SETTINGS = ("listen", "backend", "drain_timeout", "access_log")
_FLAGS: Mapping[str, str] = {
    "connect_timeout": "connect_timeout_s",
    "first_byte_timeout": "first_byte_timeout_s",
    "idle_timeout": "idle_timeout_s",
    "head_timeout": "head_timeout_s",
    "keepalive_timeout": "keepalive_timeout_s",
    "max_in_flight": "max_in_flight",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """What the program was asked to do, from the file and the arguments."""

    listen: tuple[tuple[str, int], ...]
    backends: tuple[Backend, ...]
    settings: RouterSettings
    drain_timeout_s: float
    access_log: str | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to end; the exit status."""
    try:
        invocation = read_arguments(sys.argv[1:] if argv is None else argv)
    except SettingsError as error:
        _say(f"dynod-router: {error}")
        return 2
    try:
        sockets = [_listening(host, port) for host, port in invocation.listen]
    except OSError as error:
        _say(f"dynod-router: cannot listen: {error}")
        return 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(invocation, sockets))


def read_arguments(argv: Sequence[str]) -> Invocation:
    """Arguments over the file over defaults.

    Raises:
        SettingsError: naming the argument or setting that cannot be used.

    """
    parser = argparse.ArgumentParser(
        prog="dynod-router", description="An HTTP/1.1 reverse proxy with Heroku's router semantics.", allow_abbrev=False
    )
    parser.add_argument("--listen", action="append", metavar="HOST:PORT", help="where to accept clients (repeatable)")
    parser.add_argument(
        "--backend", action="append", metavar="[LABEL=]HOST:PORT", help="where a dyno listens (repeatable)"
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file; every setting may stand in it, flags win")
    for flag in ("connect", "first-byte", "idle", "head", "keepalive"):
        parser.add_argument(f"--{flag}-timeout", type=float, metavar="SECONDS")
    parser.add_argument("--max-in-flight", type=int, metavar="N", help="requests at one backend at once; 0: no cap")
    parser.add_argument("--drain-timeout", type=float, metavar="SECONDS", help="on TERM, at most this long (30)")
    parser.add_argument("--access-log", metavar="FILE|-", help="append router log lines to FILE, or - for stdout")
    given = parser.parse_args(argv)
    table = _file(given.config)
    own = {name: table.pop(name) for name in _NOT_ROUTER_SETTINGS if name in table}
    settings = RouterSettings.from_mapping(table)
    changes = {name: getattr(given, flag) for flag, name in _FLAGS.items() if getattr(given, flag) is not None}
    settings = RouterSettings.from_mapping(changes, base=settings)
    listen = given.listen or _strings(own.get("listen"), "listen") or ["127.0.0.1:5000"]
    backends = given.backend or _strings(own.get("backend"), "backend")
    if not backends:
        raise SettingsError("--backend: at least one is needed")
    drain = given.drain_timeout if given.drain_timeout is not None else own.get("drain_timeout", 30.0)
    if not isinstance(drain, int | float) or isinstance(drain, bool) or drain < 0:
        raise SettingsError(f"drain_timeout: expected a number of seconds, found {drain!r}")
    log = given.access_log if given.access_log is not None else own.get("access_log")
    if log is not None and not isinstance(log, str):
        raise SettingsError(f"access_log: expected a string, found {log!r}")
    return Invocation(
        listen=tuple(_address(text, "--listen") for text in listen),
        backends=tuple(_backend(text, number) for number, text in enumerate(backends, 1)),
        settings=settings,
        drain_timeout_s=float(drain),
        access_log=log,
    )


def _file(path: str | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"--config: {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--config: {path}: {error}") from error


def _strings(value: object, name: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise SettingsError(f"{name}: expected a string or a list of strings, found {value!r}")


def _address(text: str, name: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _TOP_PORT:
        raise SettingsError(f"{name}: expected HOST:PORT, found {text!r}")
    return host or "0.0.0.0", int(port)  # noqa: S104  # an empty host means every address, as in `:80`


def _backend(text: str, number: int) -> Backend:
    label, equals, address = text.rpartition("=")
    host, port = _address(address, "--backend")
    return Backend(id=f"{number}:{address}", label=label if equals else f"web.{number}", host=host, port=port)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


async def _serve(invocation: Invocation, sockets: Sequence[socket.socket]) -> int:
    log = _AccessLog(invocation.access_log)
    router = Router(invocation.settings, on_records=log.write)
    router.set_app(_APP, condition=AppCondition.SERVING)
    router.set_default_app(_APP)
    for backend in invocation.backends:
        router.add_backend(_APP, backend)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await router.start(sockets)
    gc.collect()
    gc.freeze()  # what is there now stays: full collections under load need not look at it
    for sock in sockets:
        host, port = sock.getsockname()[:2]
        _say(f"listening on {f'[{host}]' if ':' in host else host}:{port}")
    await stop.wait()
    for sock in sockets:
        sock.close()  # nobody takes over: new clients are to be refused, not left in the backlog
    await router.shutdown(drain_timeout_s=invocation.drain_timeout_s)
    log.close()
    return 0


class _AccessLog:
    """Router lines to a file or stdout, a batch at a time."""

    def __init__(self, target: str | None) -> None:
        self._file: BinaryIO | None = None
        if target == "-":
            self._file = sys.stdout.buffer
        elif target is not None:
            self._file = Path(target).open("ab")  # noqa: SIM115  # closed in close()

    def write(self, records: Sequence[RequestRecord]) -> None:
        if self._file is None:
            return
        self._file.write(lines(records))
        self._file.flush()

    def close(self) -> None:
        if self._file is not None and self._file is not sys.stdout.buffer:
            self._file.close()


if __name__ == "__main__":
    sys.exit(main())
