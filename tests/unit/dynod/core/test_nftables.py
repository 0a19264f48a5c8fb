"""The text of the table; what the kernel makes of it is shown in tests/integration/test_firewall.py."""

import pytest

from dynod.core.nftables import OPEN, TABLE, closed, opened, table_of, why_open
from dynod.core.ports import FIRST_PORT, LAST_PORT


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if not line.startswith("#")]


def test_a_table_is_replaced_whole_and_names_nothing_else() -> None:
    """To make it, delete it and make it again is one transaction, whether there was one or not."""
    found = lines(closed())
    assert found[:3] == ["table inet dynod", "delete table inet dynod", "table inet dynod {"]
    assert [line for line in found if "table" in line and "inet dynod" not in line] == []
    assert "flush" not in closed()
    assert opened() == "delete table inet dynod\n"


def test_only_what_begins_a_connection_to_a_dyno_from_elsewhere_is_dropped() -> None:
    (rule,) = [line for line in lines(closed()) if "drop" in line]
    assert rule.startswith('iif != "lo" tcp dport 20000-29999 ')
    assert "== syn " in rule
    assert (FIRST_PORT, LAST_PORT) == (20000, 29999)


@pytest.mark.parametrize(
    ("but", "passing"),
    [([], None), ([80, 5000, 30000], None), ([29999, 80, 20000, 29999], "tcp dport { 20000, 29999 } accept")],
)
def test_dynods_own_listeners_among_the_dynos_stay_open(but: list[int], passing: str | None) -> None:
    found = lines(closed(but=but))
    assert [line for line in found if "accept" in line and "policy" not in line] == ([passing] if passing else [])


def test_every_daemon_of_a_machine_has_a_table_of_its_own() -> None:
    tables = {table_of(state, usual="/var/lib/dynod") for state in ("/var/lib/dynod", "/srv/a", "/srv/b")}
    assert len(tables) == 3
    assert TABLE in tables


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ("netlink: Error: cache initialization failed: Operation not permitted\n", "is for root, or for dynod's own"),
        ("/dev/stdin:2:1: Error: Could not process rule: Not supported\ntable inet", "Could not process rule: Not sup"),
        ("", "nft: no reason given"),
    ],
)
def test_why_it_could_not_be_is_one_sentence(said: str, ends: str) -> None:
    told = why_open(said)
    assert told.startswith(OPEN)
    assert ends in told
    assert "\n" not in told
