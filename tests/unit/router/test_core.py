"""Small decisions: retries, records, affinity, the PROXY line, settings, arguments."""

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import CODES, Balance, Code, RequestRecord, RouterSettings, SettingsError, format_line
from router.__main__ import read_arguments
from router.core import affinity, proxy_line
from router.core.request_record import printable
from router.core.retry import IDEMPOTENT, MOST_ATTEMPTS, RetryBudget, Verdict, verdict
from router.errors import HeadError


def test_the_retry_rule_in_full() -> None:
    """Every combination, against the rule as design.md says it."""
    methods = (b"GET", b"PUT", b"POST", b"FOO")
    flags = tuple(product((False, True), repeat=4))
    for method, (sent, body, answered, reused), attempts, others in product(
        methods, flags, (1, 9, MOST_ATTEMPTS), (0, 2)
    ):
        got = verdict(
            method=method,
            request_sent=sent,
            has_body=body,
            answered=answered,
            connection_reused=reused,
            attempts=attempts,
            others=others,
        )
        repeatable = method in IDEMPOTENT and not body
        if answered or attempts == MOST_ATTEMPTS or (sent and not repeatable):
            assert got is Verdict.GIVE_UP
        elif sent and reused:
            assert got is Verdict.SAME_OR_OTHER
        else:
            assert got is (Verdict.OTHER if others else Verdict.GIVE_UP)


@given(st.lists(st.booleans(), max_size=300))
def test_retries_stay_within_their_share(steps: list[bool]) -> None:
    budget = RetryBudget(share=0.2, ceiling=5.0)
    requests = retries = 0
    for is_request in steps:
        if is_request:
            requests += 1
            budget.deposit()
        elif budget.take():
            retries += 1
    assert retries <= 5 + 0.2 * requests


def record(**changes: object) -> RequestRecord:
    made = RequestRecord("demo", b"GET", b"/", b"demo.test", 0.0)
    made.request_id = b"8601b555-6a83-4c12-8269-97c8e32cdb22"
    made.fwd = b"204.204.204.204"
    for name, value in changes.items():
        setattr(made, name, value)
    return made


DYNO = {"dyno": b"web.1", "connect_ms": 1.4, "service_ms": 18.9, "status": 200, "bytes_out": 13}


def test_the_line_of_a_good_request_is_herokus() -> None:
    assert format_line(record(**DYNO)) == (
        'at=info method=GET path="/" host=demo.test request_id=8601b555-6a83-4c12-8269-97c8e32cdb22 '
        'fwd="204.204.204.204" dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=http'
    )


@pytest.mark.parametrize("code", Code)
def test_the_line_of_every_code(code: Code) -> None:
    made = record(**DYNO)
    made.fail(code, cause="bad header" if code in (Code.REQUEST_ERROR, Code.HTTP_RESTRICTION) else "")
    line = format_line(made)
    meaning = CODES[code]
    sock = f"sock={meaning.sock} " if meaning.sock else ""
    assert line.startswith(f'{sock}at={meaning.at} code={code} desc="{meaning.desc}')
    assert f" status={meaning.status or ''} bytes=13 " in line
    assert line.count("\n") == 0


def test_the_first_code_of_a_request_stays() -> None:
    made = record()
    made.fail(Code.REQUEST_TIMEOUT)
    made.fail(Code.CLIENT_INTERRUPTED)
    assert made.code is Code.REQUEST_TIMEOUT


def test_a_quote_in_the_path_does_not_end_the_field() -> None:
    assert ' path="/a%22%20b=1" host=' in format_line(record(path=b'/a"%20b=1'))


@given(st.binary(max_size=60))
def test_what_is_printed_from_the_wire_stays_one_field(value: bytes) -> None:
    line = format_line(record(fwd=printable(value), **DYNO))
    match = re.fullmatch(r'at=info method=GET path="/" host=\S+ request_id=\S+ fwd="([^"\s]*)" dyno=web\.1 .*', line)
    assert match is not None


@given(st.text(min_size=1, max_size=60), st.binary(min_size=1, max_size=32))
def test_a_pinned_backend_is_read_back_by_the_same_key_only(backend_id: str, key: bytes) -> None:
    try:
        backend_id.encode()
    except UnicodeEncodeError:
        return
    field = affinity.set_cookie(key, backend_id)
    cookie = field.partition(b": ")[2].partition(b";")[0]
    assert affinity.pinned(key, b"\nHost: a\r\nCookie: x=y; " + cookie + b"\r") == backend_id
    assert affinity.pinned(key + b"x", b"\nCookie: " + cookie + b"\r") is None
    assert affinity.pinned(key, b"\nX-Cookie: " + cookie + b"\r") is None
    assert affinity.pinned(key, b"\nCookie: no-" + cookie + b"\r") is None


def test_proxy_lines() -> None:
    four = proxy_line.parse(b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 443")
    six = proxy_line.parse(b"PROXY TCP6 2001:db8::1 2001:db8::2 51000 80")
    assert four == proxy_line.ProxiedClient(address="203.0.113.7", port=443)
    assert six == proxy_line.ProxiedClient(address="2001:db8::1", port=80)
    assert proxy_line.parse(b"PROXY UNKNOWN") is None
    assert proxy_line.parse(b"PROXY UNKNOWN ffff:: ffff:: 1 2") is None
    for bad in (
        b"",
        b"PROXY",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1",
        b"PROXY TCP4 1.2.3.400 1.2.3.4 1 2",
        b"PROXY TCP5 a b 1 2",
    ):
        with pytest.raises(HeadError):
            proxy_line.parse(bad)


def test_every_setting_can_stand_in_the_file() -> None:
    for name, value in (("connect_timeout_s", 1), ("balance", "random"), ("trusted_proxies", ["10.0.0.0/8"])):
        changed = RouterSettings.from_mapping({name: value})
        assert changed != RouterSettings()
    assert RouterSettings.from_mapping({"balance": "random"}).balance is Balance.RANDOM


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"nonsense": 1}, "nonsense: no such setting"),
        ({"connect_timeout_s": "5"}, "connect_timeout_s: expected a number of seconds, found '5'"),
        ({"connect_timeout_s": True}, "connect_timeout_s"),
        ({"max_in_flight": 1.5}, "max_in_flight: expected a whole number"),
        ({"max_in_flight": -1}, "max_in_flight: -1 is negative"),
        ({"balance": "best"}, "balance: expected 'p2c' or 'random'"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies: '10.0.0.1/8'"),
        ({"trusted_proxies": "10.0.0.0/8"}, "trusted_proxies: expected a list"),
        ({"enforce_first_byte": 1}, "enforce_first_byte: expected true or false"),
        ({"via_name": "a b"}, "via_name"),
    ],
)
def test_a_bad_setting_is_named(table: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        RouterSettings.from_mapping(table)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "router.toml"
    file.write_text(
        'listen = ["127.0.0.1:1"]\nbackend = "web.9=[::1]:2"\ndrain_timeout = 3\nconnect_timeout_s = 4\n'
        "idle_timeout_s = 9\n"
    )
    made = read_arguments(["--config", str(file), "--connect-timeout", "7", "--listen", "[::]:80", "--listen", ":81"])
    assert made.listen == (("::", 80), ("0.0.0.0", 81))
    assert [(item.label, item.host, item.port) for item in made.backends] == [("web.9", "::1", 2)]
    assert (made.settings.connect_timeout_s, made.settings.idle_timeout_s, made.drain_timeout_s) == (7.0, 9.0, 3.0)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--backend", "nowhere"],
        ["--backend", "a:99999"],
        ["--backend", "a:+1"],
        ["--backend", "a:1", "--drain-timeout", "-1"],
        ["--backend", "a:1", "--config", "/no/such/file"],
    ],
)
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SettingsError):
        read_arguments(arguments)
