"""The load of contracts.md section 9, which every claim of "no request failed" is measured under.

64 connections that never pause: half are kept alive, half are new for each request; half of the requests are POSTs
with bodies; answers take 50 to 500 ms and are compared byte for byte with what was asked. The dynos are toys,
`web_server --counts`.

What happens at a switch is reckoned from the dynos' own clock readings: a switch is the first request that a new
process had, and in flight at it is every request that was with a process before and answered after.
"""

import contextlib
import http.client
import random
import threading
import time
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

CONNECTIONS: Final = 64
SHORTEST_MS: Final = 50
LONGEST_MS: Final = 500
LARGEST_BODY: Final = 20_000
ANSWER_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One request that was answered: by which process, and its time there (CLOCK_MONOTONIC of the machine)."""

    pid: int
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A new process had its first request at `at`: how many were in flight then, how many with those it replaced."""

    pid: int
    at: float
    in_flight: int
    with_leaving: int


class SteadyLoad:
    """Ask from `__enter__` to `__exit__`. `outcomes` counts "ok" and everything else that came."""

    def __init__(self, port: int, host: str, *, seed: int, connections: int = CONNECTIONS) -> None:
        """`host` is the app's; the router listens on `port` of this machine."""
        self._port = port
        self._host = host
        self.outcomes: Counter[str] = Counter()
        self.served: list[Served] = []
        self.posts = 0
        self._changed = threading.Condition()
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number, random.Random(seed * 1000 + number)))
            for number in range(connections)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    @property
    def sent(self) -> int:
        """Requests that have ended, one way or another; once the load is over, all that were sent."""
        return self.outcomes.total()

    def wait_for(self, count: int, *, timeout_s: float) -> None:
        """That many answers in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.sent >= count, timeout=timeout_s), self.outcomes

    def switches(self, first: set[int]) -> list[Switch]:
        """Every process that came after those of `first`, in order; ask when the load is over."""
        began: dict[int, float] = {}
        last: dict[int, float] = {}
        for one in self.served:
            began[one.pid] = min(began.get(one.pid, one.began), one.began)
            last[one.pid] = max(last.get(one.pid, one.began), one.began)
        starts = sorted(one.began for one in self.served)
        ends = sorted(one.ended for one in self.served)
        order = sorted((at, pid) for pid, at in began.items() if pid not in first)
        out = []
        for number, (at, pid) in enumerate(order):
            until = order[number + 1][0] if number + 1 < len(order) else float("inf")
            leaving = {other for other in began if began[other] < at and last[other] < until}
            out.append(
                Switch(
                    pid=pid,
                    at=at,
                    in_flight=bisect_right(starts, at) - bisect_right(ends, at),
                    with_leaving=sum(one.pid in leaving and one.began < at < one.ended for one in self.served),
                )
            )
        return out

    # -- one connection --------------------------------------------------------------------------------------------

    def _ask(self, number: int, rng: random.Random) -> None:
        keeps, sent = number % 2 == 0, 0
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_WITHIN_S)
        with contextlib.closing(connection):
            while not self._done.is_set():
                sent += 1
                path = f"/after/{rng.randint(SHORTEST_MS, LONGEST_MS)}?{number}-{sent}"
                posts = rng.random() < 0.5
                body = rng.randbytes(rng.randint(1, LARGEST_BODY)) if posts else None
                served = None
                try:
                    outcome, served = self._one(connection, path, body, keeps=keeps)
                except (OSError, http.client.HTTPException) as error:
                    outcome = f"{'POST' if posts else 'GET'}: {type(error).__name__}: {error}"
                if outcome != "ok" or not keeps:
                    connection.close()
                with self._changed:
                    self.outcomes[outcome] += 1
                    self.posts += posts
                    if served is not None:
                        self.served.append(served)
                    self._changed.notify_all()

    def _one(
        self, connection: http.client.HTTPConnection, path: str, body: bytes | None, *, keeps: bool
    ) -> tuple[str, Served | None]:
        headers = {"Host": self._host, **({} if keeps else {"Connection": "close"})}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        ended = time.monotonic()
        if response.status != http.HTTPStatus.OK:
            return f"status {response.status}", None
        if answer != (path.encode() if body is None else body):
            return "another body", None
        served = Served(pid=int(response.headers["X-Pid"]), began=float(response.headers["X-Began"]), ended=ended)
        return "ok", served
