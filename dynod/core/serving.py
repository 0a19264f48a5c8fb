"""What an app's web dynos together mean for a request that comes now (heroku-semantics: "which code when no dyno can
serve").
"""

from collections.abc import Collection
from enum import StrEnum

from dynod.core.dyno import SlotState


class WebCondition(StrEnum):
    """The word the router is given; each but the first names what a request gets while no dyno can take it."""

    SERVING = "serving"
    BOOTING = "booting"  # held, then H20
    CRASHED = "crashed"  # H10
    NO_WEB = "no_web"  # H14


def web_condition(states: Collection[SlotState]) -> WebCondition:
    """The condition of an app whose web slots are in these states; down slots are no web dynos."""
    wanted = [state for state in states if state not in {SlotState.DOWN, SlotState.COMPLETE}]
    if not wanted:
        return WebCondition.NO_WEB
    if SlotState.UP in wanted:
        return WebCondition.SERVING
    if SlotState.STARTING in wanted:
        return WebCondition.BOOTING
    return WebCondition.CRASHED
