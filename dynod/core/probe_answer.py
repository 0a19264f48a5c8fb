"""What a dyno's answer to a health probe means, and the hint that saves its owner an evening.

dokku passes anything from 200 to 399. One redirect does not count here: to https on the same host, which says that the
probe never reached the app (dokku follows it and fails on TLS). Redirects are not followed.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from dynod.core.app_manifest import Healthcheck
from dynod.core.healthcheck import Failed, Outcome, Passed

REDIRECTS_FROM: Final = 300
FAILURES_FROM: Final = 400
QUOTED_BYTES: Final = 100  # of an error page that is plain text
_CHOOSE_HOST: Final = "or set the check's Host in its httpHeaders"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The head of an answer, and as much of its body as was read."""

    status: int
    location: str = ""
    content_type: str = ""
    body: bytes = b""


# Frameworks that refuse a Host they do not know, by what they answer: status, mark in the body (lower case), advice.
_HOST_REFUSALS: Final = (
    (400, b"disallowedhost", 'Django refuses the Host header of the probe, add "{host}" to ALLOWED_HOSTS'),
    (400, b"invalid http_host header", 'Django refuses the Host header of the probe, add "{host}" to ALLOWED_HOSTS'),
    (
        400,
        b"<h1>bad request (400)</h1>",
        'if this is Django, it refuses the Host header, add "{host}" to ALLOWED_HOSTS',
    ),
    (400, b"invalid host header", 'the app refuses the Host header of the probe, add "{host}" to its allowed hosts'),
    (403, b"blocked host", 'Rails refuses the Host header of the probe, add "{host}" to config.hosts'),
    (403, b"blocked request. this host", 'Vite refuses the Host header of the probe, add "{host}" to allowedHosts'),
    (403, b"invalid host header", 'the app refuses the Host header of the probe, add "{host}" to its allowed hosts'),
)

_STATUS_HINTS: Final = {
    401: "the check needs a path that asks for no login",
    404: "is the path right?",
    405: "the probe is a GET",
}


def judge_answer(check: Healthcheck, answer: Answer, *, host: str, secure: bool) -> Outcome:
    """Pass or fail of a path check. `host` is the Host header that was sent, `secure` whether over TLS."""
    status = answer.status
    if status >= FAILURES_FROM:
        return Failed(f"answered {status}{_why(answer, host)}")
    if status >= REDIRECTS_FROM and not secure and _only_to_https(answer.location, host):
        return Failed(
            f"answered {status}, a redirect to https: the app does not trust X-Forwarded-Proto of its router; "
            "in Django SECURE_SSL_REDIRECT needs SECURE_PROXY_SSL_HEADER beside it, or SECURE_REDIRECT_EXEMPT"
        )
    if check.content and check.content.encode() not in answer.body:
        redirect = f" (a redirect to {answer.location}, which is not followed)" if answer.location else ""
        return Failed(f'answered {status} without "{check.content}"{redirect}')
    return Passed()


def _why(answer: Answer, host: str) -> str:
    page = answer.body.lower()
    for status, mark, advice in _HOST_REFUSALS:
        if answer.status == status and mark in page:
            return f": {advice.format(host=host)}, {_CHOOSE_HOST}"
    if hint := _STATUS_HINTS.get(answer.status):
        return f": {hint}"
    quoted = _first_line(answer)
    return f': "{quoted}"' if quoted else ""


def _first_line(answer: Answer) -> str:
    """Of a body that is meant to be read as text; an HTML page says too little in its first line."""
    if not answer.content_type.lower().startswith(("text/plain", "application/json", "application/problem+json")):
        return ""
    text = answer.body[:QUOTED_BYTES].decode(errors="replace").strip()
    return re.sub(r"[^\x20-\x7e\xa0-\uffff].*", "", text, flags=re.DOTALL).replace('"', "'")


def _only_to_https(location: str, host: str) -> bool:
    try:
        target = urlsplit(location)
        there = target.hostname
    except ValueError:  # a Location that is no address
        return False
    here = urlsplit(f"//{host}").hostname
    return target.scheme == "https" and there == here
