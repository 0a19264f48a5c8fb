"""What can go wrong in the router, as exceptions. A refused request is no exception: it is a `Code` (core/codes.py).

Imports nothing. Each class exists because some caller catches it apart.
"""


class RouterError(Exception):
    """Base of all of them. `code` is stable and greppable."""

    code = "router"


class SettingsError(RouterError):
    """A setting or an argument that cannot be used; the message names it and says what was expected."""

    code = "router.settings"


class HeadError(RouterError):
    """A request or response head that is not HTTP, is ambiguous, or passes a limit.

    `cause` is a short phrase for the log line; `status` is what the client gets.
    """

    code = "router.head"

    def __init__(self, cause: str, status: int = 400) -> None:
        super().__init__(cause)
        self.cause = cause
        self.status = status


class ChunkError(RouterError):
    """A chunked body whose framing the grammar of RFC 9112 section 7.1 does not allow."""

    code = "router.chunk"


class BodyTooLargeError(RouterError):
    """A request body beyond `max_body`."""

    code = "router.body"
