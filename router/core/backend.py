"""One backend: its identity, its place in the pool, and its claims. Pure; one per dyno instance.

A backend's state is a table. What is *not* in it: quarantine (core/health.py), a temporary judgement that changes no
state, and the count of requests in flight, which only `pool.py` writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from router.core.health import Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where a dyno instance answers.

    `id` is the instance's UUID, `label` the name for log lines (`web.1`), `host` any address or name.
    Two instances of one label may live at once, during a restart.
    """

    id: str
    label: str
    host: str
    port: int


class BackendState(Enum):
    """Where a backend is between being added and being gone."""

    SERVING = "serving"
    DRAINING = "draining"
    GONE = "gone"


class BackendEvent(Enum):
    """What may happen to a backend."""

    DRAIN = "drain"
    REMOVE = "remove"


TRANSITIONS: Final[Mapping[tuple[BackendState, BackendEvent], BackendState]] = {
    (BackendState.SERVING, BackendEvent.DRAIN): BackendState.DRAINING,
    (BackendState.SERVING, BackendEvent.REMOVE): BackendState.GONE,
    (BackendState.DRAINING, BackendEvent.DRAIN): BackendState.DRAINING,  # a second drain waits for the same end
    (BackendState.DRAINING, BackendEvent.REMOVE): BackendState.GONE,
}


def advance(state: BackendState, event: BackendEvent) -> BackendState:
    """The next state; a pair that is not in the table is a bug of the caller.

    Raises:
        KeyError: for a missing pair.

    """
    return TRANSITIONS[state, event]


class PooledBackend:
    """A backend with its counts: owned by its pool, which alone changes it."""

    __slots__ = ("added_at", "backend", "health", "id", "in_flight", "label", "label_bytes", "state", "tunnels")

    def __init__(self, backend: Backend, *, now: float) -> None:
        self.backend = backend
        self.id = backend.id
        self.label = backend.label
        self.label_bytes = backend.label.encode("latin-1", "replace")
        self.state = BackendState.SERVING
        self.health = Health()
        self.in_flight = 0  # HTTP requests claimed and not released
        self.tunnels = 0  # upgraded connections: they hold no drain up (contracts.md 7)
        self.added_at = now
