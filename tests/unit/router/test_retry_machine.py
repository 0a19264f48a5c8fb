"""Requests over pool, claims, retries and drain together, under any sequence of failures: as relay.py puts them.

The machine plays the relay's part with the core's own decisions: claim, attempt, verdict, budget, release. What must
hold whatever happens: nothing with effects is sent twice, no backend that failed is asked again, no claim is lost, a
draining backend gets nothing new but keeps what it has.
"""

import random
from dataclasses import dataclass, field

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from router.core.backend import Backend, BackendState, PooledBackend
from router.core.pool import BackendPool, Hold, Outcome, Refuse
from router.core.retry import IDEMPOTENT, MOST_ATTEMPTS, RetryBudget, Verdict, verdict

SHARE = 0.2
CEILING = 20.0


@dataclass(eq=False)
class Request:
    """What a test remembers of one request, by itself."""

    method: bytes
    has_body: bool
    claim: PooledBackend
    attempts: int = 1
    sent_to: list[str] = field(default_factory=list)
    failed_at: tuple[str, ...] = ()


class RetryMachine(RuleBasedStateMachine):
    """Requests in flight are a bundle; each rule is one thing that happens to one of them."""

    requests = Bundle("requests")

    @initialize(backends=st.integers(1, 4), seed=st.integers(0, 2**32))
    def begin(self, backends: int, seed: int) -> None:
        self.now = 1000.0
        self.pool = BackendPool(random=random.Random(seed).random, boot_hold_s=1e9)
        self.budget = RetryBudget(share=SHARE, ceiling=CEILING)
        self.entries: dict[str, PooledBackend] = {}
        self.held: dict[str, int] = {}
        self.came = self.sent_again = 0
        for _ in range(backends):
            self.add()

    @rule()
    def add(self) -> None:
        backend = Backend(id=f"b{len(self.entries)}", label="web.1", host="::1", port=1)
        self.entries[backend.id] = self.pool.add(backend, self.now)
        self.held[backend.id] = 0

    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        serving = sorted(key for key, entry in self.entries.items() if entry.state is BackendState.SERVING)
        if len(serving) > 1:
            self.pool.drain(data.draw(st.sampled_from(serving)))

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=requests, method=st.sampled_from([b"GET", b"PUT", b"POST", b"FOO"]), has_body=st.booleans())
    def comes(self, method: bytes, has_body: bool) -> object:
        self.budget.deposit()
        self.came += 1
        claim = self.pool.claim(self.now)
        if not isinstance(claim, PooledBackend):
            assert isinstance(claim, Hold)
            return multiple()
        self.held[claim.id] += 1
        return Request(method=method, has_body=has_body, claim=claim)

    @rule(request=consumes(requests))
    def is_answered(self, request: Request) -> None:
        request.sent_to.append(request.claim.id)
        self.ends(request, Outcome.ANSWERED)

    @rule(request=consumes(requests))
    def client_leaves(self, request: Request) -> None:
        self.ends(request, Outcome.ABANDONED)

    @rule(target=requests, request=consumes(requests), sent=st.booleans(), reused=st.booleans())
    def attempt_fails(self, request: Request, sent: bool, reused: bool) -> object:
        if sent:
            request.sent_to.append(request.claim.id)
        reused = reused and sent
        decision = verdict(
            method=request.method,
            request_sent=sent,
            has_body=request.has_body,
            answered=False,
            connection_reused=reused,
            attempts=request.attempts,
            others=self.pool.others(request.claim.id, request.failed_at),
        )
        outcome = Outcome.BROKEN if sent else Outcome.CONNECT_FAILED
        stale = decision is Verdict.SAME_OR_OTHER
        if decision is Verdict.GIVE_UP or (sent and not stale and not self.budget.take()):
            self.ends(request, outcome)
            return multiple()
        if sent:
            assert request.method in IDEMPOTENT, "a request that may have had effects is sent twice"
            assert not request.has_body, "a body that is gone is sent twice"
            self.sent_again += not stale
        if decision is Verdict.OTHER:
            request.failed_at = (*request.failed_at, request.claim.id)
        self.ends(request, Outcome.ABANDONED if stale else outcome)
        claim = self.pool.claim(self.now, passed_over=request.failed_at)
        if not isinstance(claim, PooledBackend):
            assert isinstance(claim, Hold | Refuse)
            return multiple()
        assert claim.id not in request.failed_at, "one that failed is asked again"
        self.held[claim.id] += 1
        request.claim = claim
        request.attempts += 1
        assert request.attempts <= MOST_ATTEMPTS
        return request

    def ends(self, request: Request, outcome: Outcome) -> None:
        self.pool.release(request.claim, outcome, self.now)
        self.held[request.claim.id] -= 1

    @invariant()
    def every_claim_is_known(self) -> None:
        for key, entry in getattr(self, "entries", {}).items():
            assert entry.in_flight == self.held[key] >= 0

    @invariant()
    def retries_stay_within_their_share(self) -> None:
        if hasattr(self, "came"):
            assert self.sent_again <= CEILING + SHARE * self.came


RetryMachine.TestCase.settings = hypothesis_settings(max_examples=100, stateful_step_count=60, deadline=None)
TestRetries = RetryMachine.TestCase
