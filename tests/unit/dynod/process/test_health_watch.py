"""A health watch on virtual time: when it asks, what it says, and that nothing goes on after its end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest

from dynod.core.app_manifest import Healthcheck
from dynod.core.boot import Address
from dynod.core.healthcheck import Failed, Outcome, Passed, Target, Verdict
from dynod.process.probes import HealthWatch
from support.virtual_time import run_virtually

TARGET = Target(instance_id="i", name="web.1", port=20017, address=Address("127.0.0.1", 20017), launched=0.0)
STARTUP = Healthcheck(kind="startup", path="/up", wait_s=2)
READINESS = Healthcheck(kind="readiness", path="/ready", wait_s=5)
LIVENESS = Healthcheck(kind="liveness", path="/live", wait_s=10)

Said = list[tuple[float, str]]


class FakeDyno:
    """Answers probes from a script: for each path `+` (pass), `-` (fail), `?` (never answers); the last one repeats."""

    def __init__(self, script: Mapping[str, str], *, takes_s: float = 0.0) -> None:
        self._script = {path: list(answers) for path, answers in script.items()}
        self._takes_s = takes_s
        self.asked: list[tuple[float, str]] = []
        self.under_way = 0

    async def probe(self, check: Healthcheck, target: Target) -> Outcome:
        assert target is TARGET
        assert check.path is not None
        self.asked.append((asyncio.get_running_loop().time(), check.path))
        answers = self._script[check.path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.under_way += 1
        try:
            await asyncio.sleep(1e9 if answer == "?" else self._takes_s)
        finally:
            self.under_way -= 1
        return Passed() if answer == "+" else Failed("answered 503")


def watch(
    dyno: FakeDyno,
    checks: Sequence[Healthcheck],
    *,
    for_s: float,
    started: bool = False,
    ready: bool = False,
    act: Callable[[Verdict], None] = lambda _verdict: None,
) -> tuple[Said, bool]:
    """What was said when in so many seconds, and whether the watch ended by itself."""

    async def main() -> tuple[Said, bool]:
        loop = asyncio.get_running_loop()
        said: Said = []

        def hear(verdict: Verdict) -> None:
            said.append((round(loop.time(), 3), type(verdict).__name__))
            act(verdict)

        health = HealthWatch(dyno, clock=loop.time, rng=lambda: 0.5)
        try:
            async with asyncio.timeout(for_s):
                await health.run(TARGET, checks, hear, started=started, ready=ready)
        except TimeoutError:
            return said, False
        return said, True

    outcome = run_virtually(main())
    assert dyno.under_way == 0, "a probe goes on without a watch"
    return outcome


def test_a_dyno_that_comes_up_slowly_then_serves_then_falters() -> None:
    dyno = FakeDyno({"/up": "--+", "/ready": "-+++---++", "/live": "+"})
    said, ended = watch(dyno, [STARTUP, READINESS, LIVENESS], for_s=60)
    assert said == [(4, "Started"), (9, "Ready"), (34, "NotReady"), (44, "Ready")]
    assert not ended
    assert [at for at, path in dyno.asked if path == "/up"] == [0, 2, 4]
    assert [at for at, path in dyno.asked if path == "/live"] == [4, 14, 24, 34, 44, 54]


def test_a_failed_start_ends_the_watch_and_every_other_probe() -> None:
    dyno = FakeDyno({"/up": "-", "/slow": "?"})
    slow = Healthcheck(kind="startup", path="/slow")
    said, ended = watch(dyno, [STARTUP, slow, LIVENESS], for_s=3600)
    assert (said, ended) == ([(4, "StartFailed")], True)


def test_startup_checks_alone_end_with_their_passing() -> None:
    assert watch(FakeDyno({"/up": "+"}), [STARTUP], for_s=60) == ([(0, "Started"), (0, "Ready")], True)


def test_no_checks_are_passed_at_once() -> None:
    assert watch(FakeDyno({}), [], for_s=1) == ([(0, "Started"), (0, "Ready")], True)


def test_probes_of_one_check_never_overlap() -> None:
    dyno = FakeDyno({"/live": "+"}, takes_s=7.0)
    watch(dyno, [LIVENESS], for_s=60)
    assert [at for at, _path in dyno.asked] == [0, 17, 34, 51]


def test_a_probe_that_hangs_delays_no_other_check() -> None:
    dyno = FakeDyno({"/live": "?", "/ready": "+"})
    said, _ended = watch(dyno, [LIVENESS, READINESS], for_s=12)
    assert said == [(0, "Started"), (0, "Ready")]
    assert [at for at, path in dyno.asked if path == "/ready"] == [0, 5, 10]


def test_liveness_is_said_once_a_row() -> None:
    said, _ended = watch(FakeDyno({"/live": "+---------"}), [LIVENESS], for_s=200)
    assert said == [(0, "Started"), (0, "Ready"), (30, "Unhealthy")]


def test_a_taken_over_dyno_is_asked_at_its_own_moment_and_nothing_is_said() -> None:
    dyno = FakeDyno({"/ready": "+", "/live": "+"})
    said, _ended = watch(dyno, [STARTUP, READINESS, LIVENESS], for_s=9, started=True, ready=True)
    assert said == []
    assert dyno.asked == [(2.5, "/ready"), (5.0, "/live"), (7.5, "/ready")]


@pytest.mark.parametrize("at", [0.5, 3.0, 12.0])
def test_cancelling_leaves_nothing_under_way(at: float) -> None:
    dyno = FakeDyno({"/up": "+", "/ready": "+", "/live": "?"}, takes_s=1.0)
    _said, ended = watch(dyno, [STARTUP, READINESS, LIVENESS], for_s=at)
    assert not ended


def test_a_bug_in_whoever_listens_is_not_swallowed() -> None:
    def act(verdict: Verdict) -> None:
        raise LookupError(type(verdict).__name__)

    with pytest.raises(LookupError, match="Started"):
        watch(FakeDyno({"/live": "+"}), [LIVENESS], for_s=10, act=act)
