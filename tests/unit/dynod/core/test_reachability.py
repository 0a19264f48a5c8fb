"""Which binds other machines can reach, and that it is said once."""

import pytest

from dynod.core.boot import Address
from dynod.core.reachability import ReachabilityNotices, reachability_line, reachable


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        ("127.0.0.1", False),
        ("127.8.9.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("0.0.0.0", True),
        ("::", True),
        ("::ffff:0.0.0.0", True),
        ("192.168.1.7", True),
        ("10.0.0.4", True),
        ("fe80::1%eth0", True),
        ("2001:db8::7", True),
    ],
)
def test_only_loopback_stays_on_the_machine(host: str, is_open: bool) -> None:
    assert bool(reachable([Address(host, 20017)])) is is_open
    assert (reachability_line("web", [Address(host, 20017)]) is not None) is is_open


def test_the_line_names_every_open_place_once_and_what_to_do() -> None:
    line = reachability_line(
        "web", [Address("0.0.0.0", 20017), Address("127.0.0.1", 9229), Address("0.0.0.0", 20017), Address("::", 20017)]
    )
    assert line == (
        "web listens on 0.0.0.0:20017, [::]:20017, on every network of this machine: other machines can reach it past "
        "the router. To keep it here, bind 127.0.0.1"
    )


def test_one_network_is_not_called_every_network() -> None:
    line = reachability_line("web", [Address("192.168.1.7", 20017)])
    assert line is not None
    assert "on a network:" in line


def test_it_is_said_once_for_each_type() -> None:
    notices = ReachabilityNotices()
    wide = [Address("0.0.0.0", 20017)]
    assert notices.line("web", [Address("127.0.0.1", 20017)]) is None
    assert notices.line("web", wide) is not None
    assert notices.line("web", [Address("0.0.0.0", 20018)]) is None
    assert notices.line("admin", wide) is not None
