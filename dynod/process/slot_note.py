"""What a core notes of a slot with the keeper, for the core after it. Goes by `Slot.keep` and `Slot.restore`.

All of it is one text, so that no state of half a transition can be read from it. May import `core`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynod.core.dyno import RestartCause, SlotState


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotNote:
    """`instance` and `replacement` are ids of the keeper's."""

    state: SlotState
    since: float  # seconds since the epoch
    crashes: int  # in a row
    restarts: Mapping[RestartCause, int]
    retry_at: float  # the loop's clock
    instance: str | None
    replacement: str | None
    awaits_restart: bool
    release: int  # whose command it goes by; 0 where there are no releases
    history: Sequence[tuple[float, str]]  # seconds since the epoch, what happened

    def text(self) -> str:
        """As it is kept."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def slot_note(text: str) -> SlotNote:
    """Read a note, also an earlier version's, which knew neither restarts nor releases, or a later one's with more."""
    noted = {"restarts": {}, "release": 0} | json.loads(text)
    noted["state"] = SlotState(noted["state"])
    noted["restarts"] = {RestartCause(cause): count for cause, count in noted["restarts"].items()}
    return SlotNote(**{name: noted[name] for name in SlotNote.__slots__})
