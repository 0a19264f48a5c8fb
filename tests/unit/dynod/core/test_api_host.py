"""Only a Host that is this server's comes in: what a browser can be talked into is another one."""

import pytest

from dynod.core.api_host import host_of, is_loopback, names_this_server


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:5080", "localhost.", "127.0.0.1", "127.0.0.1:5080", "127.9.9.9", "[::1]:5080"),
        *("192.0.2.7:5080", "vm.example.com", "VM.example.com:80"),
    ],
)
def test_names_of_this_server(host: str) -> None:
    assert names_this_server(host, reached_at="192.0.2.7", names=["vm.example.com"])


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.8", "[::2]"),
        *("user@localhost", "localhost/x", "localhost:x", "[localhost]", "localhost,localhost", "::1", "0.0.0.0"),
        *("localhost\x00", "127.1", "2130706433"),
    ],
)
def test_other_names(host: str) -> None:
    assert not names_this_server(host, reached_at="192.0.2.7", names=["vm.example.com"])


def test_an_address_is_the_same_in_all_its_forms() -> None:
    assert names_this_server("[fe80:0:0::1]:1", reached_at="fe80::1%eth0", names=[])
    assert host_of("[2001:DB8::1]:80") == "2001:db8::1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False)],
)
def test_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
