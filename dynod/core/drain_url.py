"""Where a drain leads: `syslog://`, `syslog+tls://`, `http://`, `https://` as on Heroku; `file:` and `stdout:` for
collectors on this machine.

A drain's URL may hold a password, a token or a key. What is shown of it, and what errors quote, is `shown`. Pure.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

from dynod.errors import DynodError

LONGEST_URL: Final = 2048
SYSLOG_PORT: Final = 601  # logplex_tcpsyslog_drain:valid_uri; not 514
SYSLOG_TLS_PORT: Final = 6514
HIDDEN: Final = "***"

_PRINTABLE: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+")


class DrainRefusedError(DynodError):
    """A drain that cannot be: its URL, or one too many."""

    code = "invalid_params"


class DrainKind(Enum):
    """How lines are brought there."""

    HTTP = "http"
    SYSLOG = "syslog"
    FILE = "file"
    STDOUT = "stdout"


class LineForm(Enum):
    """How lines look in a file or on stdout."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainUrl:
    """A URL that has been understood. `repr` shows no secret."""

    kind: DrainKind
    shown: str
    full: str = field(repr=False)
    tls: bool = False
    host: str = ""
    port: int = 0
    target: str = field(default="", repr=False)  # HTTP: the URL without its userinfo
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    path: str = ""  # file
    form: LineForm = LineForm.TEXT


_NETWORK: Final = {
    "http": (DrainKind.HTTP, False, 80),
    "https": (DrainKind.HTTP, True, 443),
    "syslog": (DrainKind.SYSLOG, False, SYSLOG_PORT),
    "syslog+tls": (DrainKind.SYSLOG, True, SYSLOG_TLS_PORT),
}


def parse_drain_url(text: str) -> DrainUrl:
    """Understand a URL. Raises DrainRefusedError, which quotes nothing that could be a secret."""
    if len(text) > LONGEST_URL or not _PRINTABLE.fullmatch(text):
        raise _refused(text, f"expected printable ASCII, at most {LONGEST_URL} characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _refused(text, "expected a URL with a port from 1 to 65535") from error
    if parts.fragment:
        raise _refused(text, "a fragment (#…) leads nowhere")
    if parts.scheme in _NETWORK:
        return _network(text, parts, port)
    if parts.scheme in {"file", "stdout"}:
        return _local(text, parts)
    raise _refused(text, "expected syslog://, syslog+tls://, http://, https://, file:/// or stdout:")


def hide_secrets(text: str) -> str:
    """A URL as it may be shown: without userinfo and without the values of its query."""
    try:
        parts = urlsplit(text)
        netloc = parts.netloc.rpartition("@")
        query = "&".join(
            f"{name}={HIDDEN}" if equals else HIDDEN
            for name, equals, _value in (pair.partition("=") for pair in parts.query.split("&") if pair)
        )
    except ValueError:
        return HIDDEN
    shown = f"{HIDDEN}@{netloc[2]}" if netloc[1] else netloc[2]
    if parts.scheme in {"file", "stdout"}:
        query = parts.query  # its only parameter is the form
    return urlunsplit((parts.scheme, shown, parts.path, query, ""))


def _network(text: str, parts: SplitResult, port: int | None) -> DrainUrl:
    kind, tls, default_port = _NETWORK[parts.scheme]
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise _refused(text, "expected the name or address of a host")
    if port == 0:
        raise _refused(text, "expected a port from 1 to 65535")
    if kind is DrainKind.SYSLOG and (parts.path not in {"", "/"} or parts.query or "@" in parts.netloc):
        raise _refused(text, "a syslog drain is a host and a port, nothing more")
    bare_netloc = parts.netloc.rpartition("@")[2]
    return DrainUrl(
        kind=kind,
        shown=hide_secrets(text),
        full=text,
        tls=tls,
        host=host,
        port=port or default_port,
        target=urlunsplit((parts.scheme, bare_netloc, parts.path or "/", parts.query, "")),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _local(text: str, parts: SplitResult) -> DrainUrl:
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    forms = {form.value: form for form in LineForm}
    is_file = parts.scheme == "file"
    form = forms.get(given.pop("format", LineForm.TEXT.value if is_file else LineForm.JSON.value))
    if given or form is None or parts.netloc:
        raise _refused(text, "expected file:///PATH or stdout:, with ?format=text or ?format=json if you like")
    path = unquote(parts.path)
    if is_file and (not path.startswith("/") or path.endswith("/") or "\0" in path or "/../" in f"{path}/"):
        raise _refused(text, "expected the absolute path of a file")
    if not is_file and path:
        raise _refused(text, "expected stdout: with nothing behind it but ?format=")
    return DrainUrl(
        kind=DrainKind.FILE if is_file else DrainKind.STDOUT,
        shown=f"file://{quote(path)}?format={form.value}" if is_file else f"stdout:?format={form.value}",
        full=text,
        path=path,
        form=form,
    )


def _refused(text: str, why: str) -> DrainRefusedError:
    # Logplex' words; what of the URL could not be understood may be a secret.
    scheme, colon, _rest = text.partition(":")
    named = f"{scheme}:…" if colon and scheme.replace("+", "").isalnum() else "it"
    return DrainRefusedError(f"Invalid drain destination: {named} is not understood: {why}")
