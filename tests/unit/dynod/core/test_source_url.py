"""Which addresses dynod asks for a source, when somebody else names them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.source_url import SourceUrlError, is_public, next_url, place_of


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"])
def test_what_everybody_reaches_is_asked(address: str) -> None:
    assert is_public(address)
    host = f"[{address}]" if ":" in address else address
    assert place_of(f"https://{host}/x.tgz", private=False).host == address


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
    ],
)
def test_what_only_some_reach_is_not(address: str) -> None:
    assert not is_public(address)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(SourceUrlError):
        place_of(f"http://{host}/x.tgz", private=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/x.tgz",
        "file:///etc/passwd",
        "ftp://example.com/x",
        "http://",
        "http://[::1",
        "http://a:b/",
        "http://a/\n",
    ],
)
def test_what_is_no_url_of_the_web_is_refused(url: str) -> None:
    for private in (True, False):
        with pytest.raises(SourceUrlError):
            place_of(url, private=private)


def test_what_is_secret_in_a_url_is_not_said() -> None:
    place = place_of("https://me:token@example.com:8443/x.tgz?key=1", private=False)
    assert str(place) == "https://example.com"
    assert place_of("http://10.0.0.1/x", private=True).host == "10.0.0.1"


def test_a_redirect_stays_within_tls() -> None:
    assert next_url("https://a/x/y", "z") == "https://a/x/z"
    assert next_url("http://a/x", "https://b/y") == "https://b/y"
    for location in ("http://a/y", "file:///etc/passwd"):
        with pytest.raises(SourceUrlError):
            next_url("https://a/x", location)


@given(st.text(), st.booleans())
def test_no_text_is_more_than_refused(url: str, private: bool) -> None:
    with contextlib.suppress(SourceUrlError):
        place_of(url, private=private)


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_judged_as_itself(address: object) -> None:
    text = str(address)
    assert is_public(f"::ffff:{text}") == is_public(text)
