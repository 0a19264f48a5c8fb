"""What answers to a probe mean: a table of what real frameworks say."""

import pytest

from dynod.core.app_manifest import Healthcheck
from dynod.core.healthcheck import Failed, Passed
from dynod.core.probe_answer import Answer, judge_answer

CHECK = Healthcheck(kind="startup", path="/health")
DJANGO_400 = (
    b'<!doctype html>\n<html lang="en">\n<head>\n  <title>Bad Request (400)</title>\n</head>\n'
    b"<body>\n  <h1>Bad Request (400)</h1><p></p>\n</body>\n</html>\n"
)


def reason(answer: Answer, check: Healthcheck = CHECK, *, host: str = "localhost", secure: bool = False) -> str:
    """Empty where it passes."""
    outcome = judge_answer(check, answer, host=host, secure=secure)
    return outcome.reason if isinstance(outcome, Failed) else ""


@pytest.mark.parametrize("status", [200, 201, 204, 299, 301, 302, 304, 399])
def test_two_and_three_hundreds_pass_as_in_dokku(status: int) -> None:
    assert judge_answer(CHECK, Answer(status=status), host="localhost", secure=False) == Passed()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 429, 500, 502, 503, 599])
def test_four_and_five_hundreds_fail_with_their_status(status: int) -> None:
    assert reason(Answer(status=status)).startswith(f"answered {status}")


@pytest.mark.parametrize(
    ("status", "body", "names"),
    [
        (400, DJANGO_400, "Django"),
        (400, b"<title>DisallowedHost\n          at /</title>", "Django refuses the Host header"),
        (400, b"Invalid HTTP_HOST header: 'localhost'. You may need to add", "ALLOWED_HOSTS"),
        (400, b"Invalid host header", "allowed hosts"),
        (403, b"<h1>Blocked hosts: localhost</h1>", "config.hosts"),
        (403, b'Blocked request. This host ("localhost") is not allowed.', "allowedHosts"),
        (403, b"Invalid Host header", "allowed hosts"),
    ],
)
def test_a_refused_host_is_named_with_what_to_change(status: int, body: bytes, names: str) -> None:
    why = reason(Answer(status=status, body=body), host="demo.localhost")
    assert names in why
    assert '"demo.localhost"' in why
    assert "httpHeaders" in why


def test_another_400_blames_no_host() -> None:
    assert reason(Answer(status=400, content_type="text/html", body=b"<p>missing parameter</p>")) == "answered 400"


@pytest.mark.parametrize(
    ("location", "host", "secure", "fails"),
    [
        ("https://localhost/health", "localhost", False, True),
        ("https://localhost:8443/health", "localhost:5000", False, True),
        ("https://demo.example/", "demo.example", False, True),
        ("https://login.example/", "demo.example", False, False),  # somebody else's
        ("https://localhost/health", "localhost", True, False),  # asked over TLS: an ordinary redirect
        ("/login/", "localhost", False, False),
        ("http://localhost/login", "localhost", False, False),
        ("", "localhost", False, False),
        ("https://[broken", "localhost", False, False),
    ],
)
def test_a_redirect_to_https_on_the_same_host_never_reached_the_app(
    location: str, host: str, secure: bool, fails: bool
) -> None:
    for status in (301, 302, 307, 308):
        why = reason(Answer(status=status, location=location), host=host, secure=secure)
        assert ("SECURE_SSL_REDIRECT" in why) is fails
        assert bool(why) is fails


class TestContent:
    CHECK = Healthcheck(kind="startup", path="/", content="ready ✓")

    def test_must_be_found(self) -> None:
        assert reason(Answer(status=200, body="all ready ✓ now".encode()), self.CHECK) == ""
        assert reason(Answer(status=200, body=b"not yet"), self.CHECK) == 'answered 200 without "ready ✓"'

    def test_behind_a_redirect_is_not_looked_for(self) -> None:
        why = reason(Answer(status=302, location="/login"), self.CHECK)
        assert why == 'answered 302 without "ready ✓" (a redirect to /login, which is not followed)'


@pytest.mark.parametrize(
    ("content_type", "body", "ends"),
    [
        ("text/plain", b"database is down\nTraceback", ': "database is down"'),
        ("text/plain; charset=utf-8", b'say "no"', ": \"say 'no'\""),
        ("application/json", b'{"db": false}', ": \"{'db': false}\""),
        ("text/plain", b"", ""),
        ("text/plain", b"\x1b[31mred", ""),
        ("text/html", b"<html>", ""),
        ("text/plain", b"x" * 500, f': "{"x" * 100}"'),
    ],
)
def test_an_error_page_of_text_is_quoted_and_cut(content_type: str, body: bytes, ends: str) -> None:
    assert reason(Answer(status=503, content_type=content_type, body=body)) == f"answered 503{ends}"


def test_common_mistakes_have_a_hint() -> None:
    assert reason(Answer(status=404)) == "answered 404: is the path right?"
    assert "login" in reason(Answer(status=401))
