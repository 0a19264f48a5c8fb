"""Heroku's rendezvous on the API's own port: greeting, bytes both ways, the end of input, the end of the dyno."""

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest

from dynod.platform_api import rendezvous
from dynod.process.attachment import Attachment
from support.api_server import ApiServer, MadeUpOperations
from support.up import eventually

SECRET = "a-secret-that-nobody-guesses"


class FakeAttachment:
    """A dyno's other end, which writes down what comes. It takes input as fast as it is told to."""

    def __init__(self, *, terminal: bool = True) -> None:
        self.window = (24, 80) if terminal else None
        self.client: rendezvous.Rendezvous | None = None
        self.is_over = False
        self.came = threading.Event()
        self.input = bytearray()
        self.ended_input = threading.Event()
        self.left = threading.Event()
        self.resumed = 0
        self.takes = True

    @property
    def is_taken(self) -> bool:
        return self.client is not None

    def connect(self, client: rendezvous.Rendezvous) -> None:
        self.client = client
        self.came.set()

    def disconnect(self, client: rendezvous.Rendezvous) -> None:
        assert client is self.client
        self.client = None
        self.left.set()

    def resume(self) -> None:
        self.resumed += 1

    def feed(self, data: bytes) -> int:
        self.input += data
        if self.takes and self.client is not None:
            self.client.send_taken(len(self.input))
            return 0
        return len(self.input)

    def end_input(self) -> None:
        self.ended_input.set()


class WithAttachment(MadeUpOperations):
    def __init__(self, attachment: FakeAttachment) -> None:
        super().__init__()
        self.attachment_ = attachment

    def rendezvous(self, secret: str) -> Attachment | None:
        return self.attachment_ if secret == SECRET else None  # type: ignore[return-value]  # as far as it is used


class World:
    """A server, an attachment, and whoever comes."""

    def __init__(self, server: ApiServer, attachment: FakeAttachment) -> None:
        self.server = server
        self.attachment = attachment
        status, _, document = server.ask("POST", "/dynod/heroku-environment", body={"client": "me@test"})
        assert status == 201
        assert isinstance(document, dict)
        self._context = ssl.create_default_context(cadata=document["certificate"])

    def connect(self, secret: str = SECRET, *, end: bytes = b"\r\n") -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.server.port), timeout=20)
        client = self._context.wrap_socket(raw, server_hostname="localhost")
        client.sendall(secret.encode() + end)
        return client

    def in_loop(self, *calls: Callable[[], None]) -> None:
        """One after the other, where the attachment calls its client."""
        assert self.server._loop is not None
        done = threading.Event()
        for call in (*calls, done.set):
            self.server._loop.call_soon_threadsafe(call)
        assert done.wait(20)


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    attachment = FakeAttachment()
    with ApiServer(WithAttachment(attachment), uvloop_too=request.param) as server:
        yield World(server, attachment)


def client_of(world: World) -> rendezvous.Rendezvous:
    assert world.attachment.came.wait(20)
    client = world.attachment.client
    assert client is not None
    return client


def everything(client: ssl.SSLSocket) -> bytes:
    received = b""
    while data := client.recv(65_536):
        received += data
    return received


def test_bytes_both_ways_until_the_dyno_ends(world: World) -> None:
    with world.connect() as client:
        assert client.recv(100) == b"rendezvous\r\n"  # a record of its own: the client throws the first one away
        end = client_of(world)
        world.in_loop(lambda: end.send_output(b"hello \xff\x00"))
        assert client.recv(100) == b"hello \xff\x00"
        client.sendall(b"typed\x03")
        eventually(lambda: bytes(world.attachment.input) == b"typed\x03", what="the input")
        client.sendall(b"\x04")  # a terminal's own affair
        eventually(lambda: world.attachment.input.endswith(b"\x04"), what="the byte")
        world.in_loop(lambda: end.send_output(b"bye"), lambda: end.send_exit(3, ""), end.hang_up)
        assert everything(client) == b"bye"
    assert world.attachment.left.wait(20)
    assert not world.attachment.ended_input.is_set()


def test_a_dyno_that_cannot_be_started_says_why(world: World) -> None:
    with world.connect() as client:
        end = client_of(world)
        world.in_loop(lambda: end.send_exit(127, "no such program"), end.hang_up)
        assert everything(client) == b"rendezvous\r\nno such program\r\n"


def test_a_client_whose_stdin_is_empty_can_say_so_after_a_dyno_that_ends_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heroku's command line writes that byte all the same, and dies where the connection was closed by then."""
    monkeypatch.setattr(rendezvous, "STAYS_S", 3600.0)
    with world.connect() as client:
        end = client_of(world)
        world.in_loop(lambda: end.send_output(b"bye"), lambda: end.send_exit(0, ""), end.hang_up)
        assert client.recv(100) == b"rendezvous\r\n"
        assert client.recv(100) == b"bye"
        assert not world.attachment.left.is_set()
        client.sendall(b"too late")
        client.sendall(b"\x04")
        assert client.recv(100) == b""
    assert world.attachment.left.wait(20)
    assert not world.attachment.ended_input.is_set()
    assert world.attachment.input == b""


def test_without_a_terminal_the_lone_byte_is_the_end_of_input() -> None:
    attachment = FakeAttachment(terminal=False)
    with ApiServer(WithAttachment(attachment)) as server, World(server, attachment).connect() as client:
        assert client.recv(100) == b"rendezvous\r\n"
        client.sendall(b"binary \x04 data\x04")
        client.sendall(b"\x04")
        assert attachment.ended_input.wait(20)
        assert bytes(attachment.input) == b"binary \x04 data\x04"


@pytest.mark.parametrize("secret", ["", "wrong", "x" * 199, SECRET + "x", "apps/shop", "\u00e9"])
def test_nobody_comes_in_with_another_secret(world: World, secret: str) -> None:
    with world.connect(secret) as client:
        assert everything(client) == b""
    assert not world.attachment.came.is_set()


def test_a_secret_without_end_is_not_waited_for_for_ever(world: World) -> None:
    with world.connect("x" * 300, end=b"") as client:
        assert everything(client) == b""


def test_one_client_at_a_time(world: World) -> None:
    with world.connect() as first:
        assert first.recv(100) == b"rendezvous\r\n"
        client_of(world)
        with world.connect() as second:
            assert everything(second) == b""
        assert world.attachment.is_taken


def test_a_client_that_goes_is_noticed(world: World) -> None:
    client = world.connect()
    client_of(world)
    client.close()
    assert world.attachment.left.wait(20)


def test_a_client_that_does_not_read_stops_the_dyno_and_loses_nothing(world: World) -> None:
    piece = os.urandom(16_384)
    with world.connect() as client:
        end = client_of(world)
        sent = 0

        def fill() -> None:
            nonlocal sent
            while end.has_room():
                end.send_output(piece)
                sent += 1

        def is_full() -> bool:
            world.in_loop(fill)
            return not end.has_room()

        eventually(is_full, what="a full socket")
        before = world.attachment.resumed
        received = b""
        while len(received) < len(rendezvous.GREETING) + sent * len(piece):
            received += client.recv(1 << 20)
        assert received == rendezvous.GREETING + piece * sent
        eventually(lambda: world.attachment.resumed > before, what="room again")


def test_a_dyno_that_does_not_read_stops_the_client_and_loses_nothing(world: World) -> None:
    world.attachment.takes = False
    data = os.urandom(16 * 1024 * 1024)
    with world.connect() as client:
        end = client_of(world)
        sending = threading.Thread(target=client.sendall, args=(data,))
        sending.start()
        eventually(lambda: end._holds_back, what="the end of its patience")
        assert len(world.attachment.input) < len(data) // 2
        world.attachment.takes = True
        world.in_loop(lambda: end.send_taken(len(world.attachment.input)))
        sending.join()
        eventually(lambda: len(world.attachment.input) == len(data), what="all of the input")
        assert bytes(world.attachment.input) == data


def test_without_input_and_output_it_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "IDLE_S", 0.05)
    with world.connect() as client:
        assert everything(client) == b"rendezvous\r\n"
    assert world.attachment.left.wait(20)


def test_the_servers_end_is_the_connections() -> None:
    attachment = FakeAttachment()
    with ApiServer(WithAttachment(attachment)) as server:
        world = World(server, attachment)
        idle = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        half = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        half.sendall(b"\x16\x03")
        client = world.connect()
        client_of(world)
        server.stop()
        assert attachment.left.wait(20)
        for each in (idle, half, client):
            with contextlib.suppress(OSError):
                while each.recv(100):
                    pass
            each.close()


@pytest.mark.parametrize(
    "data",
    [b"\x16", b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"\x16" + b"\x00" * 100, b"\x16\x03\x01\x00\x01\x01\r\n"],
)
def test_what_only_looks_like_tls_is_closed(world: World, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", world.server.port), timeout=20) as raw:
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while raw.recv(65_536):
                pass
    assert world.server.ask("GET", "/apps")[0] == 200
