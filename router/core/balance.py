"""Choosing one of several backends. Pure: randomness is given.

`p2c`: of two picked at random, the one with fewer requests in flight (Mitzenmacher's "power of two choices"): nearly as
even as asking all, and it does not send everybody to the one that has just come up. `random`: Heroku's way.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

from router.core.backend import PooledBackend

SLOW_START_FLOOR = 0.1  # a backend's weight when it has just been added


class Balance(StrEnum):
    """How a backend is chosen."""

    P2C = "p2c"
    RANDOM = "random"


def weight(age_s: float, slow_start_s: float) -> float:
    """How much of a full share a backend of this age takes, from `SLOW_START_FLOOR` up to 1."""
    if age_s >= slow_start_s:
        return 1.0
    return max(SLOW_START_FLOOR, age_s / slow_start_s)


def choose(
    candidates: Sequence[PooledBackend],
    *,
    balance: Balance,
    now: float,
    slow_start_s: float,
    random: Callable[[], float],
) -> PooledBackend:
    """One of `candidates` (at least one); `random` gives numbers in [0, 1)."""
    one, other = two_of(candidates, balance=balance, random=random)
    return less_busy(one, other, now=now, slow_start_s=slow_start_s)


def two_of(
    candidates: Sequence[PooledBackend], *, balance: Balance, random: Callable[[], float]
) -> tuple[PooledBackend, PooledBackend]:
    """Those between which `choose` decides: two at random, or one twice where there is nothing to decide."""
    count = len(candidates)
    if count == 1:
        return candidates[0], candidates[0]
    first = int(random() * count)
    if balance is Balance.RANDOM:
        return candidates[first], candidates[first]
    second = int(random() * (count - 1))
    if second >= first:
        second += 1
    return candidates[first], candidates[second]


def less_busy(one: PooledBackend, other: PooledBackend, *, now: float, slow_start_s: float) -> PooledBackend:
    """The one with less to do for its age."""
    if one is other:
        return one
    # Load after this request, over the share it may take: a fresh backend looks up to ten times as busy as it is.
    one_load = (one.in_flight + one.tunnels + 1) / weight(now - one.added_at, slow_start_s)
    other_load = (other.in_flight + other.tunnels + 1) / weight(now - other.added_at, slow_start_s)
    return one if one_load <= other_load else other
