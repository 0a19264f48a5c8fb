"""Who asks: the login name of the process at the other end of a unix socket, or the user of a token over TCP.

For the socket the kernel vouches for the user id (SO_PEERCRED, unix(7)). Where it is not there (macOS), the socket's
mode has let in nobody but dynod's own user. Who may do what there is decided by who can open the socket; over TCP by
`admission`, which has looked before any handler is asked.
"""

import os
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from dynod.core.api_token import Scope
from dynod.core.asker import Asker

LOGIN: Final = "dynod"  # the account that people come to by ssh, whose sshd starts `dynod ssh-serve`
CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: `uid` in their own name, over the control socket; `key_id` by ssh; or the dashboard's page.

    Held to `scope` and `app_id`.
    """

    asker: Asker
    scope: Scope | None = None
    app_id: str | None = None
    uid: int | None = None
    key_id: str | None = None
    is_page: bool = False

    def sees(self, app_id: str) -> bool:
        """Whether there is such an app for them."""
        return self.app_id in {None, app_id}


CALLER: Final = web.RequestKey("caller", Caller)


def uid_of(request: web.BaseRequest) -> int:
    """The user id of the asking process, at the other end of a unix socket."""
    connection = request.transport.get_extra_info("socket") if request.transport is not None else None
    if connection is None or not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()
    _pid, uid, _gid = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return int(uid)


def login_of(uid: int) -> str:
    """The login name, or the number of a user that this machine has no name for."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def caller(request: web.Request) -> Caller:
    """Who asks, and what they may see."""
    return request[CALLER]


def asker(request: web.Request) -> Asker:
    """The name under which the log and the audit trail know who asks."""
    return request[CALLER].asker


def owns_dynod(request: web.Request) -> bool:
    """Whether it is dynod's own user or root who asks, on this machine."""
    return request[CALLER].uid in {0, os.geteuid()}


def may_speak_for_others(request: web.Request) -> bool:
    """Whether what is asked here may be asked in another's name: dynod's own programs do, started by it or by sshd."""
    uid = request[CALLER].uid
    return owns_dynod(request) or (uid is not None and login_of(uid) == LOGIN)
