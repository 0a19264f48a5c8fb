"""What it means that a deadline has passed, by what was being waited for. Pure.

Source: Heroku, "HTTP Routing", Timeouts: 30 s to the first byte of the answer (H12), then 55 s rolling, reset by bytes
in either direction; which side was to move next decides between H15 (dyno) and H28 (client).
"""

from enum import Enum

from router.core.codes import Code


class Waiting(Enum):
    """What a request waits for."""

    BACKEND = "backend"  # parked or queued; its own code says what was missing
    CONNECTION = "connection"  # the attempt has a limit of its own
    REQUEST_BODY = "request_body"
    FIRST_BYTE = "first_byte"
    ANSWER_BODY = "answer_body"


def too_slow(received: int, *, seconds: float, least: int, grace_s: float) -> bool:
    """Whether a body of which `received` bytes have come in `seconds` comes slower than `least` bytes a second."""
    return seconds > grace_s and received < least * seconds


def code_for(
    waiting: Waiting,
    *,
    over_all: bool,
    held_for: Code | None,
    backend_full: bool,
    client_behind: bool,
    client_moved: bool,
    enforce_first_byte: bool,
) -> Code | None:
    """The code that ends the request, or None: wait on.

    `over_all`: the limit of the whole request has passed. `backend_full`: the dyno does not take the request's body.
    `client_behind`: the client has not taken all of the answer that is there; `client_moved`: but some lately.
    """
    if over_all:
        return Code.REQUEST_TIMEOUT
    match waiting:
        case Waiting.BACKEND:
            return held_for
        case Waiting.CONNECTION:
            return None
        case Waiting.ANSWER_BODY:
            if not client_behind:
                return Code.IDLE_CONNECTION
            return None if client_moved else Code.CLIENT_IDLE
        case Waiting.REQUEST_BODY if not backend_full:
            return Code.CLIENT_IDLE
        case _:
            return Code.REQUEST_TIMEOUT if enforce_first_byte else None
