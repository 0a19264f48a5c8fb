"""Whether a booting web dyno is up, from who listens where: contracts 8 as a table, and what holds for any sighting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.boot import (
    BOOT_TIMEOUT_S,
    WRONG_PORT_AFTER_S,
    Address,
    ElsewhereOnly,
    Listening,
    PortTaken,
    TimedOut,
    Verdict,
    Waiting,
    judge,
)

PORT = 20002
HOSTS = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "192.168.7.9", "::", "::1", "fd00::9", "::ffff:127.0.0.1"]
ADDRESSES = st.builds(Address, st.sampled_from(HOSTS), st.sampled_from([PORT, 3000, 8080]))
SIGHTINGS = st.lists(ADDRESSES, max_size=5)
MOMENTS = st.floats(min_value=0, max_value=120)


def look(
    own: list[Address] | None = None,
    strangers: list[Address] | None = None,
    *,
    elapsed_s: float = 0.0,
    timeout_s: float = BOOT_TIMEOUT_S,
) -> Verdict:
    return judge(port=PORT, own=own or [], strangers=strangers or [], elapsed_s=elapsed_s, timeout_s=timeout_s)


def on(*hosts: str, port: int = PORT) -> list[Address]:
    return [Address(host, port) for host in hosts]


@pytest.mark.parametrize(
    ("hosts", "reached"),
    [
        (["127.0.0.1"], "127.0.0.1"),
        (["0.0.0.0"], "127.0.0.1"),
        (["::"], "::1"),
        (["::1"], "::1"),
        (["127.0.0.2"], "127.0.0.2"),
        (["192.168.7.9"], "192.168.7.9"),
        (["0.0.0.0", "::"], "127.0.0.1"),
        (["::1", "127.0.0.1"], "127.0.0.1"),
        (["192.168.7.9", "127.0.0.1"], "127.0.0.1"),
        (["::", "192.168.7.9"], "192.168.7.9"),
        (["fd00::9", "::1"], "::1"),
        (["::ffff:127.0.0.1"], "::ffff:127.0.0.1"),
    ],
)
def test_a_dyno_that_listens_on_its_port_is_up_and_reached_where_it_listens(hosts: list[str], reached: str) -> None:
    assert look(on(*hosts)) == Listening(Address(reached, PORT))
    assert look(on(*reversed(hosts))) == Listening(Address(reached, PORT))


def test_it_is_up_as_soon_as_it_listens_however_late() -> None:
    assert look(on("127.0.0.1"), elapsed_s=10_000) == Listening(Address("127.0.0.1", PORT))


def test_it_is_up_when_a_stranger_shares_the_port() -> None:
    assert isinstance(look(on("127.0.0.1"), on("127.0.0.1")), Listening)


def test_it_is_up_when_it_listens_elsewhere_too() -> None:
    assert isinstance(look([*on("127.0.0.1", port=3000), *on("127.0.0.1")], elapsed_s=50), Listening)


@pytest.mark.parametrize("elapsed_s", [0.0, 59.9, 60.0, 600.0])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_port_that_only_a_stranger_has_is_taken(host: str, elapsed_s: float) -> None:
    assert look([], on(host), elapsed_s=elapsed_s) == PortTaken()
    assert look(on("127.0.0.1", port=3000), on(host), elapsed_s=elapsed_s) == PortTaken()


def test_strangers_elsewhere_do_not_matter() -> None:
    assert look([], on("127.0.0.1", port=3000), elapsed_s=30) == Waiting()


@pytest.mark.parametrize(
    ("elapsed_s", "verdict"),
    [
        (0.0, Waiting()),
        (WRONG_PORT_AFTER_S - 0.001, Waiting()),
        (WRONG_PORT_AFTER_S, ElsewhereOnly((Address("127.0.0.1", 3000), Address("::1", 3000)))),
        (59.999, ElsewhereOnly((Address("127.0.0.1", 3000), Address("::1", 3000)))),
        (60.0, TimedOut()),
    ],
)
def test_another_port_is_named_when_it_is_no_passing_thing(elapsed_s: float, verdict: Verdict) -> None:
    assert look(on("::1", "127.0.0.1", port=3000), elapsed_s=elapsed_s) == verdict


@pytest.mark.parametrize(("elapsed_s", "verdict"), [(59.999, Waiting()), (60.0, TimedOut()), (3600.0, TimedOut())])
def test_silence_is_waited_for_until_the_limit(elapsed_s: float, verdict: Verdict) -> None:
    assert look(elapsed_s=elapsed_s) == verdict


def test_the_limit_is_the_callers() -> None:
    assert look(elapsed_s=1.0, timeout_s=1.0) == TimedOut()
    assert look(elapsed_s=89.0, timeout_s=90.0) == Waiting()


@given(SIGHTINGS, SIGHTINGS, MOMENTS)
def test_it_is_up_exactly_when_it_listens_on_its_port(
    own: list[Address], strangers: list[Address], elapsed_s: float
) -> None:
    verdict = look(own, strangers, elapsed_s=elapsed_s)
    assert isinstance(verdict, Listening) == any(address.port == PORT for address in own)
    if isinstance(verdict, Listening):
        assert verdict.address.port == PORT
        assert verdict.address.host not in {"0.0.0.0", "::"}, "a wildcard is no address to connect to"


@given(SIGHTINGS, SIGHTINGS, MOMENTS)
def test_the_order_of_a_sighting_says_nothing(own: list[Address], strangers: list[Address], elapsed_s: float) -> None:
    assert look(own, strangers, elapsed_s=elapsed_s) == look(own[::-1], strangers[::-1], elapsed_s=elapsed_s)


@pytest.mark.parametrize(
    ("address", "shown"), [(Address("127.0.0.1", 3000), "127.0.0.1:3000"), (Address("::1", 3000), "[::1]:3000")]
)
def test_an_address_is_shown_as_people_write_it(address: Address, shown: str) -> None:
    assert str(address) == shown
