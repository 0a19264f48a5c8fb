"""Which names may lead to an app."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.domain_name import domain_fault

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    "hostname",
    [
        *("example.com", "www.example.com", "*.example.com", "intranet", "a.b.c.d", "xn--mnchen-3ya.de"),
        *("_acme.example.com", "1.example", "x" * 63 + ".org", "apps.example", "a.shop.apps.example"),
        *("*.shop.apps.example", "example.apps.example.org", "notapps.example"),
    ],
)
def test_names_that_may_lead_to_the_app(hostname: str) -> None:
    assert domain_fault(hostname, app="shop", apps_domain="apps.example") is None


@pytest.mark.parametrize(
    ("hostname", "message"),
    [
        ("", "no host name"),
        ("*", "no host name"),
        ("*.", "no host name"),
        ("www.*.com", "no host name"),
        ("*.*.com", "no host name"),
        ("a..b", "no host name"),
        (".example.com", "no host name"),
        ("-a.example.com", "no host name"),
        ("a-.example.com", "no host name"),
        ("Example.com", "no host name"),
        ("exa mple.com", "no host name"),
        ("example.com:80", "no host name"),
        ("http://example.com", "no host name"),
        ("x" * 64 + ".org", "no host name"),
        (".".join(["abcdefghi"] * 26), "no host name"),
        ("[::1]", "no host name"),
        ("192.0.2.7", "an address"),
        ("*.apps.example", "every app"),
        ("blog.apps.example", "an app's own name"),
        ("*.blog.apps.example", "an app's own name"),
        ("shop.blog.apps.example", "an app's own name"),
        ("shop.apps.example", "reached already"),
    ],
)
def test_names_that_may_not(hostname: str, message: str) -> None:
    assert message in (domain_fault(hostname, app="shop", apps_domain="apps.example") or "")


@given(st.lists(LABELS, min_size=1, max_size=5), st.booleans())
def test_no_name_below_the_apps_domain_is_taken_from_another_app(labels: list[str], wildcard: bool) -> None:
    hostname = ("*." if wildcard else "") + ".".join(labels) + ".apps.example"
    assert (domain_fault(hostname, app="shop", apps_domain="apps.example") is None) == (
        labels[-1] == "shop" and (wildcard or len(labels) > 1)
    )
