"""The work that a job stands for: counting primes, in steps that a stopping worker can leave between."""

from collections.abc import Callable
from math import isqrt

STEP = 1_000_000


class Stopped(Exception):
    """The worker was told to stop before the count was done."""


def count_primes(limit: int, *, should_stop: Callable[[], bool] = lambda: False) -> int:
    """How many primes there are up to and including `limit`; raises Stopped as soon as `should_stop()` holds."""
    small = _sieve(isqrt(limit))
    count = 0
    for low in range(0, limit + 1, STEP):
        if should_stop():
            raise Stopped
        high = min(low + STEP, limit + 1)
        segment = bytearray([1]) * (high - low)
        for prime in small:
            first = max(prime * prime, -(-low // prime) * prime)
            segment[first - low :: prime] = bytes(len(range(first, high, prime)))
        count += sum(segment) - sum(segment[: max(0, 2 - low)])
    return count


def _sieve(limit: int) -> list[int]:
    candidates = bytearray([1]) * (limit + 1)
    for number in range(2, isqrt(limit) + 1):
        if candidates[number]:
            candidates[number * number :: number] = bytes(len(range(number * number, limit + 1, number)))
    return [number for number in range(2, limit + 1) if candidates[number]]
