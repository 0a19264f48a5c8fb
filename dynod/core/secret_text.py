"""Secrets that stand in a text: credentials whose very form gives them away, and literals given to secret names.

Precision before recall: a finding fails a build, so each pattern is one that an issuer documents (a prefix of its own,
a fixed length), and a literal counts only where its name says secret and its value looks drawn at random. Values from
documentation (AWS's own example key), placeholders and development defaults are none. Pure; which files are read is
decided by `dynod.doctor`. What is shown of a secret is its beginning.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple


class Secret(NamedTuple):
    """What it is, the line (from 1) on which it stands, and as much of it as may be shown."""

    kind: str
    line: int
    shown: str


# Issuers' own forms. Sources: AWS IAM identifiers; GitHub, "Behind GitHub's new authentication token formats"; GitLab,
# "Token overview"; Slack, "Token types"; Stripe, "API keys"; Google Cloud, "API keys"; SendGrid, npm, PyPI, OpenAI and
# Heroku likewise; RFC 7468 for keys in PEM.
_ISSUED: Final = (
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b")),
    ("a GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20}\b")),
    ("a Slack token", re.compile(r"\bxox[abprs]-[0-9]{10,13}-[A-Za-z0-9-]{20,}\b")),
    ("a Stripe secret key", re.compile(r"\b[rs]k_live_[A-Za-z0-9]{24,}\b")),
    ("a Google API key", re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b")),
    ("a SendGrid key", re.compile(r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b")),
    ("an npm token", re.compile(r"\bnpm_[A-Za-z0-9]{36}\b")),
    ("a PyPI token", re.compile(r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}")),
    ("a Heroku API key", re.compile(r"\bHRKU-[A-Za-z0-9_-]{36,}\b")),
    ("a private key", re.compile(r"-----BEGIN (?:RSA |EC |DSA |OPENSSH |ENCRYPTED )?PRIVATE KEY-----(?:\s*$|\\[nr])")),
)
# scheme://user:password@host, where the host is another machine: a development database on this one is nobody's secret.
_URL: Final = re.compile(
    r"\b(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|https?|smtps?)"
    r"://[^\s:@/'\"<>{}$()]+:(?P<password>[^\s@/'\"<>{}$()]{6,})@(?P<host>[A-Za-z0-9.-]+)"
)
_NEAR: Final = re.compile(
    r"localhost|127\..*|0\.0\.0\.0|::1|host|db|database|postgres|mysql|redis|mongo|rabbitmq|.*\.local(?:host)?"
    r"|(?:.*\.)?example(?:\.(?:com|org|net))?|.*\.(?:test|invalid|internal)"
)
# NAME = "literal", as Python, JavaScript, Ruby, PHP, Go, YAML and TOML write it; nothing may follow the literal.
_ASSIGNED: Final = re.compile(
    r"""(?<![\w.])['"]?(?P<name>[A-Za-z_][A-Za-z0-9_]*)['"]?\s*(?::=|=>|=|:)\s*"""
    r"""(?P<quote>['"])(?P<value>[A-Za-z0-9+/=_!@#%^&*()$.~-]{20,200})(?P=quote)\s*[,;]?\s*(?:(?:\#|//).*)?$"""
)
_SECRET_NAME: Final = re.compile(
    r"(?i)(?:^|_)(?:secret(?:_?key(?:_base)?)?|(?:api|access|private)_?key|(?:auth|access)_?token|passw(?:or)?d)$"
)
_PLACEHOLDER: Final = re.compile(
    r"(?i)example|change|replace|your|insert|placeholder|dummy|sample|insecure|default|todo|xxx|secret|password"
    r"|development|test|fake|\.\.\.|\*\*\*|1234|abcd"
)
LEAST_ENTROPY: Final = 3.5  # bits a character: 20 drawn from 64 have about 4, words and paths rarely more than 3.4
LONGEST_LINE: Final = 2_000  # characters; beyond is generated code
_SHOWN: Final = 8


def secrets_in(text: str) -> Iterator[Secret]:
    """Every secret of a text, one a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) <= LONGEST_LINE and (found := _on(line)) is not None:
            yield Secret(found[0], number, found[1])


def _on(line: str) -> tuple[str, str] | None:
    for kind, pattern in _ISSUED:
        match = pattern.search(line)
        if match is not None and not _PLACEHOLDER.search(match[0]):
            return kind, match[0] if kind == "a private key" else _begin(match[0])
    for match in _URL.finditer(line):
        if not _NEAR.fullmatch(match["host"]) and not _PLACEHOLDER.search(match["password"]):
            return "a URL with a password", f"{match[0].partition(':')[0]}://…:…@{match['host']}"
    match = _ASSIGNED.search(line.rstrip())
    if match is not None and _SECRET_NAME.search(match["name"]) and _is_random(match["value"]):
        return f"the literal value of {match['name']}", _begin(match["value"])
    return None


def _is_random(value: str) -> bool:
    if _PLACEHOLDER.search(value) or not (any(map(str.isdigit, value)) and any(map(str.isalpha, value))):
        return False
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts) >= LEAST_ENTROPY


def _begin(value: str) -> str:
    return f"{value[:_SHOWN]}…"
