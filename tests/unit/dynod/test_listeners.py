"""Addresses: what a person may write, what is bound for it, and what is said when it cannot be had."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod import listeners
from dynod.errors import ExitStatus, UsageError
from dynod.listeners import ListenAddress, ListenError, listen, listen_near, parse_listen_address, url


@contextlib.contextmanager
def closing(sockets: list[socket.socket]) -> Iterator[list[socket.socket]]:
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("5000", None, 5000),
        ("1", None, 1),
        ("65535", None, 65535),
        ("localhost:80", "localhost", 80),
        ("0.0.0.0:5000", "0.0.0.0", 5000),
        ("[::]:5000", "::", 5000),
        ("[::1]:5000", "::1", 5000),
        ("[::ffff:127.0.0.1]:5000", "::ffff:127.0.0.1", 5000),
        ("my-host.example:5000", "my-host.example", 5000),
    ],
)
def test_an_address_is_a_port_or_a_host_and_a_port(text: str, host: str | None, port: int) -> None:
    address = parse_listen_address(text, option="-p")
    assert address == ListenAddress(host=host, port=port)
    assert parse_listen_address(str(address), option="-p") == address


@pytest.mark.parametrize(
    "text",
    ["", "0", "65536", "99999", "-1", ":5000", "::1:5000", "[]:5000", "host:", "host", "5000 ", "\uff15000", "a:b:1"],
)
def test_anything_else_is_a_usage_error_that_names_the_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"-p .*: expected \[HOST:\]PORT with a port from 1 to 65535") as refused:
        parse_listen_address(text, option="-p")
    assert refused.value.exit_status == ExitStatus.USAGE


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert 1 <= parse_listen_address(text, option="-p").port <= 65535


def test_without_a_host_it_is_loopback_of_both_families() -> None:
    port = free_port()
    with closing(listen(ListenAddress(host=None, port=port))) as sockets:
        assert [each.getsockname()[:2] for each in sockets] == [("127.0.0.1", port), ("::1", port)]
        for each in sockets:
            with socket.create_connection(each.getsockname()[:2], timeout=10):
                each.accept()[0].close()
            assert not os.get_inheritable(each.fileno())
        assert url(sockets) == f"http://127.0.0.1:{port}"


def test_a_port_that_is_taken_is_refused_and_nothing_stays_open() -> None:
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 (a count)
    with closing(listen(ListenAddress(host="127.0.0.1", port=free_port()))) as sockets:
        port = sockets[0].getsockname()[1]
        with pytest.raises(ListenError, match=rf"cannot listen on 127.0.0.1:{port}: another program listens there"):
            listen(ListenAddress(host=None, port=port))
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208 (a count)


def test_a_port_of_which_only_ipv6_is_taken_is_refused_too() -> None:
    with closing(listen(ListenAddress(host="::1", port=free_port()))) as sockets:
        port = sockets[0].getsockname()[1]
        with pytest.raises(ListenError, match=rf"cannot listen on \[::1\]:{port}: another program"):
            listen(ListenAddress(host=None, port=port))


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on no-such-host\.invalid:5000"):
        listen(ListenAddress(host="no-such-host.invalid", port=5000))


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:5000: cannot assign requested address"):
        listen(ListenAddress(host="192.0.2.1", port=5000))


def test_a_default_that_is_taken_gives_the_next_free_port() -> None:
    with closing(listen_near(free_port())) as first:
        port = first[0].getsockname()[1]
        with closing(listen_near(port)) as second:
            assert port < second[0].getsockname()[1] < port + listeners.DEFAULT_TRIES
            assert {each.getsockname()[1] for each in second} == {second[0].getsockname()[1]}


def test_a_default_near_the_end_of_all_ports_does_not_leave_them() -> None:
    with (
        closing(listen(ListenAddress(host="127.0.0.1", port=65535))),
        pytest.raises(ListenError, match="65535 is free"),
    ):
        listen_near(65535)


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "http://127.0.0.1:"), ("::", "http://[::1]:"), ("::1", "http://[::1]:")]
)
def test_the_url_is_one_that_a_browser_can_open(host: str, shown: str) -> None:
    with closing(listen(ListenAddress(host=host, port=free_port()))) as sockets:
        assert url(sockets) == f"{shown}{sockets[0].getsockname()[1]}"
