"""Which pages of an app's own its config vars name."""

import pytest

from dynod.core.page_urls import PAGES, page_urls
from dynod.core.settings_table import ROUTER_KNOBS


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ("https://s3.example/error.html", True),
        ("http://[::1]:8000/?a=b#c", True),
        ("", False),
        ("//example.com/error", False),
        ("ftp://example.com/error", False),
        ("javascript:alert(1)", False),
        ("https://", False),
        ("https://example.com/a b", False),
        ("https://example.com/\nSet-Cookie: a=b", False),
        ("https://example.com/\n", False),
    ],
)
def test_only_the_address_of_a_page_counts(value: str, counts: bool) -> None:
    found = page_urls({"ERROR_PAGE_URL": value, "MAINTENANCE_PAGE_URL": "https://down.example/", "OTHER": value})
    assert found == {
        "maintenance_page_url": "https://down.example/",
        **({"error_page_url": value} if counts else {}),
    }


def test_each_is_a_setting_of_the_router() -> None:
    assert set(PAGES.values()) <= {knob.name for knob in ROUTER_KNOBS}
