"""Which URLs are drains, and what of them is ever shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.drain_url import DrainKind, DrainRefusedError, LineForm, hide_secrets, parse_drain_url


@pytest.mark.parametrize(
    ("text", "kind", "tls", "host", "port"),
    [
        ("syslog://logs.example.com", DrainKind.SYSLOG, False, "logs.example.com", 601),
        ("syslog://logs.example.com:514/", DrainKind.SYSLOG, False, "logs.example.com", 514),
        ("syslog+tls://logs.example.com", DrainKind.SYSLOG, True, "logs.example.com", 6514),
        ("syslog+tls://[::1]:7000", DrainKind.SYSLOG, True, "::1", 7000),
        ("http://10.0.0.1", DrainKind.HTTP, False, "10.0.0.1", 80),
        ("https://u:p@in.example.com/a/b?key=value", DrainKind.HTTP, True, "in.example.com", 443),
    ],
)
def test_herokus_forms(text: str, kind: DrainKind, tls: bool, host: str, port: int) -> None:
    url = parse_drain_url(text)
    assert (url.kind, url.tls, url.host, url.port, url.full) == (kind, tls, host, port, text)


def test_userinfo_is_taken_out_of_what_is_posted_to() -> None:
    url = parse_drain_url("https://us%40er:p%2Fss@in.example.com:8443/logs/a%20b?key=v%20w")
    assert (url.user, url.password) == ("us@er", "p/ss")
    assert url.target == "https://in.example.com:8443/logs/a%20b?key=v%20w"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@example.com/logs", "https://***@example.com/logs"),
        ("https://token@example.com/logs?apikey=secret&b=2", "https://***@example.com/logs?apikey=***&b=***"),
        ("http://example.com/?secret", "http://example.com/?***"),
        ("https://a@b:secret@example.com/", "https://***@example.com/"),
        ("syslog+tls://logs.example.com:6514/", "syslog+tls://logs.example.com:6514/"),
        ("file:///var/log/app.log", "file:///var/log/app.log?format=text"),
        ("stdout:", "stdout:?format=json"),
    ],
)
def test_secrets_are_not_shown(text: str, shown: str) -> None:
    url = parse_drain_url(text)
    assert url.shown == shown
    assert "secret" not in repr(url)


@pytest.mark.parametrize(
    ("text", "path", "form"),
    [
        ("file:///var/log/a%20b.log", "/var/log/a b.log", LineForm.TEXT),
        ("file:///var/log/a.json?format=json", "/var/log/a.json", LineForm.JSON),
        ("stdout:?format=text", "", LineForm.TEXT),
    ],
)
def test_forms_that_end_on_this_machine(text: str, path: str, form: LineForm) -> None:
    url = parse_drain_url(text)
    assert (url.path, url.form) == (path, form)


@pytest.mark.parametrize(
    "text",
    [
        *("", "logs.example.com", "logs.example.com:514", "udp://example.com", "ftp://secret@example.com"),
        *("syslog://", "syslog://:514", "syslog://example.com:0", "syslog://example.com:99999", "syslog://e:secret"),
        *("syslog://example.com/secret", "syslog://user:secret@example.com", "syslog://example.com?secret"),
        *("https://exa mple.com/", "https://example.com/#secret", "https://[::1/", "https://", "https://a_b!c/"),
        *(
            "file://host/secret",
            "file:secret",
            "file:///",
            "file:///a/../secret",
            "file:///x?secret=1",
            "file:///a%00b",
        ),
        *(
            "stdout:/secret",
            "stdout:?format=xml",
            "stdout://secret",
            "https://example.com/\x7f",
            "https://example.com/é",
        ),
        "https://example.com/" + "x" * 3000,
    ],
)
def test_anything_else_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(DrainRefusedError, match="Invalid drain destination") as caught:
        parse_drain_url(text)
    assert "secret" not in str(caught.value)


@given(
    user=st.text("abcXYZ0123-._~%40", min_size=8, max_size=20),
    password=st.text("abcXYZ0123-._~@:", min_size=8, max_size=20),
    value=st.text("abcXYZ0123-._~@:/", min_size=8, max_size=20),
)
def test_no_part_of_a_secret_is_ever_shown(user: str, password: str, value: str) -> None:
    shown = hide_secrets(f"https://{user}:{password}@example.com/logs?k={value}")
    assert shown == "https://***@example.com/logs?k=***"
