"""The git remote `dynod` of a work tree: the app that is meant there, and the machine or socket of its dynod. Pure.

    dynod::shop                          an app of this machine's dynod
    dynod::/srv/dynod.sock/shop          of the dynod behind that socket
    dynod::ssh://me@vm.example.com/shop  of another machine's, by whatever lets you in there
    ssh://dynod@vm.example.com/shop.git  the same by plain git and a key of `keys:add`; dynod@vm.example.com:shop.git

`dynod::` has git ask for `git-remote-dynod`, which talks to dynod's API. Nothing of a URL gets further than what
`SshHost` and an app's name allow.
"""

import re
from dataclasses import dataclass
from typing import Final

from dynod.core.app_name import app_name_fault
from dynod.core.ssh_host import SCHEME, SshHost, parse_ssh_host
from dynod.errors import UsageError

NAME: Final = "dynod"
HELPER: Final = "dynod::"
SUFFIX: Final = ".git"
EXPECTED: Final = "expected dynod::APP, dynod::ssh://USER@HOST/APP or ssh://USER@HOST/APP.git"

_SECTION: Final = re.compile(r'\[\s*remote\s+"((?:[^"\\]|\\.)*)"\s*\]\s*', re.IGNORECASE)
_URL: Final = re.compile(r"url\s*=\s*(?P<value>.*)", re.IGNORECASE)
_SHORT: Final = re.compile(r"(?P<place>[^/:]+@[^/:]+|[^/:@]+):/?(?P<path>[^/].*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRemote:
    """What a remote's URL says. Without `host` and `socket` it is of whichever dynod this machine's verbs find."""

    app: str
    host: SshHost | None = None
    socket: str | None = None

    def __str__(self) -> str:
        if self.host is not None:
            return f"{HELPER}{self.host}/{self.app}"
        return f"{HELPER}{self.socket}/{self.app}" if self.socket is not None else f"{HELPER}{self.app}"


def parse_remote(url: str, *, source: str) -> GitRemote:
    """The URL of a remote; without `dynod::` what git hands to its helper. Raises UsageError."""
    text = url.removeprefix(HELPER)
    if text.startswith(SCHEME):
        place, _, path = text.removeprefix(SCHEME).partition("/")
        return GitRemote(app=_app(path, url, source), host=parse_ssh_host(SCHEME + place, source=source))
    if text.startswith("/"):
        socket, _, path = text.rpartition("/")
        return GitRemote(app=_app(path, url, source), socket=socket)
    short = _SHORT.fullmatch(text)
    if short is not None and not url.startswith(HELPER):
        return GitRemote(
            app=_app(short["path"], url, source), host=parse_ssh_host(SCHEME + short["place"], source=source)
        )
    return GitRemote(app=_app(text, url, source))


def url_of_remote(config: str, name: str = NAME) -> str | None:
    """The first URL of a remote in the text of a `.git/config` (git-config(1)); no other file is looked into."""
    within = False
    for line in config.splitlines():
        text = line.strip()
        if text.startswith("["):
            section = _SECTION.match(text)
            within = section is not None and re.sub(r"\\(.)", r"\1", section[1]) == name
            text = text[section.end() :] if section is not None else ""
        found = _URL.fullmatch(text) if within else None
        if found is not None:
            return _value(found["value"])
    return None


def _app(path: str, url: str, source: str) -> str:
    app = path.removesuffix("/").removesuffix(SUFFIX)
    if app_name_fault(app) is not None:
        raise UsageError(f'{source}: {EXPECTED}, found "{url}"')
    return app


def _value(text: str) -> str:
    """Without quotes, and a comment that follows."""
    bare = re.match(r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^#;]*))', text)
    assert bare is not None  # noqa: S101 (the second way matches anything)
    return re.sub(r"\\(.)", r"\1", bare["quoted"]) if bare["quoted"] is not None else bare["plain"].strip()
