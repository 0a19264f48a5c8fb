"""Dynos that bind every address, seen from another machine: a network of its own, joined to the daemon's by a cable.

The daemon runs in one network namespace and whoever asks in another, so that no rule reaches the machine of the tests.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import pytest

from support import installed
from support.serve import Serve, ServedApp
from support.up import eventually, free_port

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="nftables is Linux's"),
    pytest.mark.needs_ability("netlink", reason="nftables is Linux's"),
]

HERE: Final = {socket.AF_INET: "10.9.8.1", socket.AF_INET6: "fd00:9:8::1"}
THERE: Final = {socket.AF_INET: "10.9.8.2", socket.AF_INET6: "fd00:9:8::2"}
families = pytest.mark.parametrize("family", HERE, ids=["IPv4", "IPv6"])

CLOSES: Final = {"DYNOD_SERVE_CLOSE_DYNO_PORTS": "true"}
OTHERS: Final = ("add", "table", "inet", "others")
# A dyno as Heroku's are: on every address.
WEB: Final = f"{sys.executable} -m http.server --bind :: $PORT"

# Connects, says so when that has begun, and then what has become of it: "connected", an error, or nothing.
CONNECT: Final = """
import select, socket, sys
asked = socket.socket(int(sys.argv[1]))
asked.setblocking(False)
asked.connect_ex((sys.argv[2], int(sys.argv[3])))
print("asked", flush=True)
select.select([asked, sys.stdin], [asked], [])
try:
    asked.getpeername()
    print("connected", flush=True)
except OSError as error:
    print(error, flush=True)
"""


class Net:
    """Two network namespaces with a cable between them."""

    def __init__(self) -> None:
        name = uuid.uuid4().hex[:8]
        self.ours, self.theirs = f"dynod-{name}-a", f"dynod-{name}-b"
        self.nft = installed.program("nft")

    def __enter__(self) -> Self:
        for name in (self.ours, self.theirs):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", "cable", "netns", self.ours, "type", "veth", "peer", "name", "cable", "netns", self.theirs)
        for name, addresses in ((self.ours, HERE), (self.theirs, THERE)):
            ip("-n", name, "address", "add", f"{addresses[socket.AF_INET]}/24", "dev", "cable")
            ip("-n", name, "address", "add", f"{addresses[socket.AF_INET6]}/64", "dev", "cable", "nodad")
            ip("-n", name, "link", "set", "cable", "up")
        return self

    def __exit__(self, *error: object) -> None:
        for name in (self.ours, self.theirs):
            ip("netns", "delete", name)

    def within(self, name: str) -> list[str]:
        """What a command begins with to run there. Not `ip netns exec`, which hides control groups."""
        return ["nsenter", f"--net=/run/netns/{name}"]

    def rules(self, *words: str) -> str:
        """Of nft(8), where the daemon is."""
        ended = subprocess.run([*self.within(self.ours), self.nft, *words], capture_output=True, text=True, check=True)
        return ended.stdout

    def dropped(self) -> int:
        """Packets, so far."""
        found = re.search(r"counter packets (\d+)", self.rules("list", "ruleset"))
        return int(found[1]) if found else 0

    def tables(self) -> list[str]:
        return self.rules("list", "tables").splitlines()

    def reaches(self, port: int, family: socket.AddressFamily, *, unless: Callable[[], bool] = lambda: False) -> str:
        """What a connection from the other machine comes to; "" where `unless` comes first."""
        with subprocess.Popen(
            [*self.within(self.theirs), sys.executable, "-c", CONNECT, str(int(family)), HERE[family], str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as asking:
            assert asking.stdin is not None
            assert asking.stdout is not None
            assert asking.stdout.readline() == "asked\n"
            eventually(lambda: unless() or asking.poll() is not None, what="an answer, or a packet that was dropped")
            asking.kill()  # if it has not ended
            return asking.stdout.read().strip()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """The one that `closed` is in."""
    with made() as found:
        yield found


@pytest.fixture
def other_net() -> Iterator[Net]:
    """For another daemon, since the rules of one hold for all that is in its network."""
    with made() as found:
        yield found


def made() -> Net:
    if os.geteuid() != 0:
        pytest.skip("only root can make networks")
    for name in ("ip", "nsenter", "setpriv"):
        installed.program(name)
    return Net()


class ServeThere(Serve):
    """`dynod serve` in the first of the two networks."""

    def __init__(self, net: Net, state: Path, *before: str, closes: bool = True) -> None:
        """`before`: what its command begins with."""
        self.router = free_port()
        super().__init__(
            state,
            *("--listen", f"0.0.0.0:{self.router}", "--listen", f"[::]:{self.router}"),
            env=CLOSES if closes else {},
        )
        self._command = [*net.within(net.ours), *before, *self._command]

    def shop(self, folder: Path) -> tuple[ServedApp, int]:
        """An app, and the port of its dyno."""
        shop = self.app(folder, "shop", procfile={"web": WEB})
        shop.wait_until_up("web.1")
        port = shop.dynos()["web.1"]["dynod"]["port"]
        assert port is not None
        return shop, port


@pytest.fixture(scope="module")
def closed(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServeThere, ServedApp, int]]:
    folder = tmp_path_factory.mktemp("closed")
    net.rules(*OTHERS)
    with contextlib.ExitStack() as left:
        serve = left.enter_context(ServeThere(net, folder / "state"))
        shop, port = serve.shop(folder)
        yield serve, shop, port
    assert net.tables() == ["table inet others"]


@families
def test_from_another_machine_a_dynos_port_is_closed_and_the_routers_open(
    net: Net, closed: tuple[ServeThere, ServedApp, int], family: socket.AddressFamily
) -> None:
    serve, shop, port = closed
    before = net.dropped()
    assert net.reaches(port, family, unless=lambda: net.dropped() > before) == ""
    assert net.reaches(serve.router, family) == "connected"
    assert not any("past the router" in line for line in shop.log())
    assert "past the router" not in serve.done("status").stdout


def test_from_this_machine_a_dyno_is_reached_by_any_of_its_addresses(
    net: Net, closed: tuple[ServeThere, ServedApp, int]
) -> None:
    _, _, port = closed
    for address in (*HERE.values(), "127.0.0.1", "::1"):
        with_curl = [installed.program("curl"), "-sf", "--max-time", "20", "-g"]
        host = f"[{address}]" if ":" in address else address
        subprocess.run([*net.within(net.ours), *with_curl, f"http://{host}:{port}/Procfile"], check=True)


def test_the_next_core_closes_them_once_more_and_others_rules_stay(
    net: Net, closed: tuple[ServeThere, ServedApp, int]
) -> None:
    serve, shop, port = closed
    net.rules("flush", "ruleset")  # as the machine's own configuration begins
    net.rules(*OTHERS)
    core = serve.core_pid()
    os.kill(core, signal.SIGKILL)
    eventually(lambda: any("dynod" in table for table in net.tables()), what="the next core's table")
    assert net.reaches(port, socket.AF_INET, unless=lambda: net.dropped() > 0) == ""
    rules = net.rules("list", "ruleset")
    assert rules.count("counter packets") == 1
    assert "table inet others" in rules
    shop.wait_until_up("web.1")


def test_where_they_cannot_be_closed_that_is_said_and_who_binds_every_address_named(
    other_net: Net, tmp_path: Path
) -> None:
    powerless = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    with ServeThere(other_net, tmp_path / "state", *powerless) as serve:
        shop, port = serve.shop(tmp_path)
        serve.wait_for_line(r"other machines reach dynos past the router.*: closing their ports is for root")
        assert "other machines reach dynos past the router" in serve.done("status").stdout
        shop.wait_for_log(r"heroku\[web\.1\]: web listens on \[?::\]?:\d+, .*past the router")
        assert other_net.reaches(port, socket.AF_INET) == "connected"


def test_whoever_wants_them_open_has_them_open_without_a_word(other_net: Net, tmp_path: Path) -> None:
    with ServeThere(other_net, tmp_path / "state", closes=False) as serve:
        shop, port = serve.shop(tmp_path)
        assert other_net.reaches(port, socket.AF_INET) == "connected"
        assert not [table for table in other_net.tables() if "dynod" in table]
        assert "past the router" not in serve.done("status").stdout + "\n".join(shop.log())
