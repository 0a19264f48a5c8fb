"""The client of dynod's verbs, against the real server and against sockets that misbehave."""

import contextlib
import getpass
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon, NoDaemonError
from dynod.platform_api.requests import TIMEOUT_S, ApiError
from support.api_server import ApiServer, MadeUpOperations
from support.source_tree import REPOSITORY

ME = getpass.getuser()
Talk = Callable[..., ApiClient]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


@pytest.fixture
def talking_to() -> Iterator[Talk]:
    with contextlib.ExitStack() as stack:

        def talk(daemon: Daemon, timeout_s: float = TIMEOUT_S) -> ApiClient:
            client = ApiClient(daemon, timeout_s=timeout_s)
            stack.callback(client.close)
            return client

        yield talk


@pytest.fixture
def client(server: ApiServer, talking_to: Talk) -> ApiClient:
    return talking_to(server.daemon)


def test_every_page_is_read(server: ApiServer, client: ApiClient) -> None:
    assert isinstance(server.operations, MadeUpOperations)
    server.operations.quantities = {"web": 450}
    assert [dyno["name"] for dyno in client.dynos("shop")] == [f"web.{number}" for number in range(1, 451)]


def test_what_changes_something(server: ApiServer, client: ApiClient) -> None:
    assert isinstance(server.operations, MadeUpOperations)
    (web,) = client.scale("shop", [{"type": "web", "quantity": "+1"}])
    assert (web["type"], web["quantity"]) == ("web", 3)
    client.restart("shop")
    client.restart("shop", process_type="web")
    client.restart("shop", dyno="web.1")
    client.stop("shop", process_type="run")
    client.stop("shop", dyno="worker.1")
    assert server.operations.done == [
        ("scale", {"web": 3}, {}, ME),
        ("restart", None, ME),
        ("restart", "web", ME),
        ("restart", "web.1", ME),
        ("stop", "run", ME),
        ("stop", "worker.1", ME),
    ]


def test_a_refusal_has_herokus_id(client: ApiClient) -> None:
    with pytest.raises(ApiError, match=r"^Couldn't find that app\.$") as caught:
        client.app("../nope?x#y")
    assert (caught.value.code, caught.value.status) == ("not_found", 404)
    assert caught.value.exit_status == 1
    assert client.app("shop")["name"] == "shop"  # over the same connection


def test_no_daemon(talking_to: Talk, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(NoDaemonError, match=r"there is no socket .* \(from DYNOD_SOCKET\): start one with `dynod up`"):
        talking_to(Daemon(socket=str(path), source="DYNOD_SOCKET")).apps()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(NoDaemonError, match=r"nothing listens on .* any more"):
        talking_to(Daemon(socket=str(path), source=str(path))).apps()
    marked = Daemon(socket=str(path), source="/app/.dynod/up.json", app="app", folder=Path("/app"))
    with pytest.raises(NoDaemonError, match=r"the dynod of /app has ended without clearing up.*or remove /app/\.dynod"):
        talking_to(marked).apps()
    with pytest.raises(NoDaemonError, match=r"no connection to .*too long"):
        talking_to(Daemon(socket="/" + "x" * 200, source="--socket")).apps()


def test_permission_denied_names_the_group(tmp_path: Path) -> None:
    """As another user, in a process of its own: root is let in everywhere."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    code = (
        f"import os, sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from dynod.platform_api.client import ApiClient\n"
        "from dynod.platform_api.finding import Daemon, NoDaemonError\n"
        "os.setuid(65534)\n"
        "try: ApiClient(Daemon(socket=sys.argv[1], source=sys.argv[1])).apps()\n"
        "except NoDaemonError as error: print(error)"
    )
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        path.chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=30, check=True
        )
    assert "the group dynod" in done.stdout, done.stderr


def answering(path: Path, *answers: bytes) -> Callable[[], int]:
    """A server of one answer a connection; what is returned ends it and says how many connections came."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    listening.settimeout(30)  # for a client that never comes: the test fails, and the thread ends
    came: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                return
            with connection:
                came.append(connection.recv(65_536))
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()

    def end() -> int:
        thread.join(30)
        listening.close()
        return len(came)

    return end


EMPTY_LIST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


@pytest.mark.parametrize(
    "cut_short", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n["]
)
def test_a_look_is_tried_again_where_the_core_was_replaced(talking_to: Talk, tmp_path: Path, cut_short: bytes) -> None:
    end = answering(tmp_path / "s", cut_short, EMPTY_LIST)
    assert talking_to(Daemon(socket=str(tmp_path / "s"), source="x")).apps() == []
    assert end() == 2


def test_a_change_is_not_tried_again(talking_to: Talk, tmp_path: Path) -> None:
    end = answering(tmp_path / "s", b"")
    with pytest.raises(ApiError, match="look with `dynod ps` whether it was done"):
        talking_to(Daemon(socket=str(tmp_path / "s"), source="x")).restart("shop")
    assert end() == 1


def test_what_is_no_dynod_is_named(talking_to: Talk, tmp_path: Path) -> None:
    end = answering(tmp_path / "s", b"HTTP/1.1 502 Bad\r\nContent-Length: 6\r\n\r\n<html>")
    with pytest.raises(ApiError, match="dynod answered 502 and no JSON"):
        talking_to(Daemon(socket=str(tmp_path / "s"), source="x")).apps()
    end()


def test_a_daemon_that_does_not_answer(talking_to: Talk, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        with pytest.raises(NoDaemonError, match="dynod does not answer"):
            talking_to(Daemon(socket=str(tmp_path / "s"), source="x"), 0.05).apps()


def test_the_client_needs_the_standard_library_alone() -> None:
    """So that `dynod ps` answers at once; asyncio and aiohttp alone would cost it more than all the rest."""
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); before = set(sys.modules)\n"
        "import dynod.platform_api.client, dynod.cli.ps, dynod.cli.main\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(done.stdout.split())
    assert loaded - sys.stdlib_module_names == {"dynod", "click"}
    assert not loaded & {"asyncio", "multiprocessing", "concurrent"}
