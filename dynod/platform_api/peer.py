"""Who asks: the login name of the process at the other end of a unix socket.

The kernel vouches for the user id (SO_PEERCRED, unix(7)). Where it is not there (macOS), the socket's mode has let in
nobody but dynod's own user. Who may do what is decided by who can open the socket, not here.
"""

import os
import pwd
import socket
import struct
from typing import Final

from aiohttp import web

CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


def uid_of(request: web.BaseRequest) -> int:
    """The user id of the asking process."""
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


def asker(request: web.BaseRequest) -> str:
    """The name under which the log and the audit trail know who asks."""
    return login_of(uid_of(request))
