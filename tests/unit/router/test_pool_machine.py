"""The pool under any sequence of claims, releases, drains, removals, failures and time."""

import random
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from router.core.backend import TRANSITIONS, Backend, BackendEvent, BackendState, PooledBackend, advance
from router.core.balance import Balance
from router.core.codes import Code
from router.core.pool import AppCondition, BackendPool, Hold, Outcome, Refuse


class PoolMachine(RuleBasedStateMachine):
    """A model that counts claims by itself, beside the pool."""

    claims = Bundle("claims")

    @initialize(
        cap=st.integers(0, 3),
        balance=st.sampled_from(Balance),
        slow=st.sampled_from([0.0, 5.0]),
        seed=st.integers(0, 2**32),
    )
    def begin(self, cap: int, balance: Balance, slow: float, seed: int) -> None:
        self.now = 1000.0
        self.cap = cap
        self.pool = BackendPool(
            random=random.Random(seed).random, balance=balance, max_in_flight=cap, slow_start_s=slow
        )
        self.added = 0
        self.serving: set[str] = set()
        self.draining: set[str] = set()
        self.held: dict[str, int] = {}
        self.tunnels: dict[str, int] = {}
        self.entries: dict[str, PooledBackend] = {}

    @rule()
    def add(self) -> None:
        self.added += 1
        backend = Backend(id=f"b{self.added}", label="web.1", host="::1", port=1)
        self.entries[backend.id] = self.pool.add(backend, self.now)
        self.serving.add(backend.id)
        self.held[backend.id] = self.tunnels[backend.id] = 0

    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        if self.serving | self.draining:
            backend_id = data.draw(st.sampled_from(sorted(self.serving | self.draining)))
            self.pool.drain(backend_id)
            self.serving.discard(backend_id)
            self.draining.add(backend_id)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.serving | self.draining:
            backend_id = data.draw(st.sampled_from(sorted(self.serving | self.draining)))
            assert self.pool.remove(backend_id) is not None
            assert self.pool.remove(backend_id) is None
            self.serving.discard(backend_id)
            self.draining.discard(backend_id)

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(condition=st.sampled_from(AppCondition))
    def condition_changes(self, condition: AppCondition) -> None:
        self.pool.condition = condition

    @rule(target=claims, data=st.data())
    def claim(self, data: st.DataObject) -> object:
        ids = sorted(self.entries)
        passed_over = data.draw(st.frozensets(st.sampled_from(ids), max_size=3)) if ids else frozenset()
        prefer = data.draw(st.none() | st.sampled_from(ids)) if ids else None
        room = self.pool.room(self.now)
        claim = self.pool.claim(self.now, passed_over=passed_over, prefer=prefer)
        if isinstance(claim, PooledBackend):
            assert claim.id in self.serving, "a draining or removed backend was claimed"
            assert claim.id not in passed_over
            assert not claim.health.quarantined(self.now)
            assert not self.cap or self.held[claim.id] < self.cap
            assert self.pool.condition not in (AppCondition.MAINTENANCE, AppCondition.BLANK, AppCondition.PARKED)
            assert room, "a claim was given although there was said to be no room"
            preferred = self.entries.get(prefer) if prefer is not None else None
            if (
                preferred is not None
                and prefer in self.serving - passed_over
                and not preferred.health.quarantined(self.now)
                and (not self.cap or self.held[preferred.id] < self.cap)
            ):
                assert claim.id == prefer
            self.held[claim.id] += 1
            return claim
        if isinstance(claim, Hold):
            assert claim.limit_s > 0
            if claim.retry_at is not None:
                assert claim.retry_at > self.now, "a wake-up in the past would spin"
        else:
            assert isinstance(claim, Refuse)
        return multiple()

    @rule(claim=consumes(claims), outcome=st.sampled_from(Outcome))
    def release(self, claim: PooledBackend, outcome: Outcome) -> None:
        self.pool.release(claim, outcome, self.now)
        self.held[claim.id] -= 1

    @rule(claim=consumes(claims))
    def upgrade(self, claim: PooledBackend) -> None:
        self.pool.to_tunnel(claim)
        self.held[claim.id] -= 1
        self.tunnels[claim.id] += 1

    @rule(data=st.data())
    def tunnel_ends(self, data: st.DataObject) -> None:
        with_tunnels = sorted(backend_id for backend_id, count in self.tunnels.items() if count)
        if with_tunnels:
            backend_id = data.draw(st.sampled_from(with_tunnels))
            self.pool.end_tunnel(self.entries[backend_id])
            self.tunnels[backend_id] -= 1

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "pool"):
            return
        for backend_id, entry in self.entries.items():
            assert entry.in_flight == self.held[backend_id] >= 0
            assert entry.tunnels == self.tunnels[backend_id] >= 0
        assert {entry.id for entry in self.pool.entries()} == self.serving | self.draining
        assert len(self.pool) == len(self.serving)

    @invariant()
    def room_is_never_denied_wrongly(self) -> None:
        if hasattr(self, "pool") and not self.pool.room(self.now):
            answer = self.pool.claim(self.now)
            assert isinstance(answer, Hold), answer


PoolMachine.TestCase.settings = hypothesis_settings(max_examples=120, stateful_step_count=60, deadline=None)
TestPool = PoolMachine.TestCase


def test_every_cell_of_the_backends_table_is_decided() -> None:
    for state, event in product(BackendState, BackendEvent):
        if (state, event) in TRANSITIONS:
            assert advance(state, event) is TRANSITIONS[state, event]
        else:
            assert state is BackendState.GONE
            with pytest.raises(KeyError):
                advance(state, event)


def pool_of(*ports: int, **options: object) -> BackendPool:
    pool = BackendPool(random=random.Random(1).random, **options)  # type: ignore[arg-type]  # a test's shorthand
    for port in ports:
        pool.add(Backend(id=str(port), label=f"web.{port}", host="a", port=port), 0.0)
    return pool


@pytest.mark.parametrize(
    ("condition", "empty", "filled"),
    [
        (AppCondition.SERVING, Code.BOOT_TIMEOUT, None),
        (AppCondition.BOOTING, Code.BOOT_TIMEOUT, None),
        (AppCondition.CRASHED, Code.APP_CRASHED, None),
        (AppCondition.NO_WEB, Code.NO_WEB_PROCESSES, None),
        (AppCondition.MAINTENANCE, Code.MAINTENANCE, Code.MAINTENANCE),
        (AppCondition.BLANK, Code.BLANK_APP, Code.BLANK_APP),
        (AppCondition.PARKED, Code.BOOT_TIMEOUT, Code.BOOT_TIMEOUT),
    ],
)
def test_what_a_condition_gives(condition: AppCondition, empty: Code, filled: Code | None) -> None:
    for pool, expected in ((pool_of(), empty), (pool_of(1), filled), (pool_of(1, 2), filled)):
        pool.condition = condition
        answer = pool.claim(1.0)
        assert expected is None if isinstance(answer, PooledBackend) else answer.code is expected


def test_a_refused_connection_quarantines_for_five_seconds() -> None:
    pool = pool_of(1)
    entry = pool.claim(10.0)
    assert isinstance(entry, PooledBackend)
    pool.release(entry, Outcome.CONNECT_FAILED, 10.0)
    held = pool.claim(14.9)
    assert isinstance(held, Hold)
    assert (held.code, held.retry_at) == (Code.ALL_QUARANTINED, 15.0)
    assert pool.claim(15.0) is entry


def test_broken_answers_eject_with_growing_spans_and_one_success_forgets() -> None:
    pool = pool_of(1)
    now = 100.0
    spans = []
    for _ in range(6):
        for _ in range(5):
            entry = pool.claim(now)
            assert isinstance(entry, PooledBackend)
            pool.release(entry, Outcome.BROKEN, now)
        [entry] = pool.entries()
        spans.append(entry.health.quarantined_until - now)
        now = entry.health.quarantined_until
    assert spans == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    [entry] = pool.entries()
    assert pool.claim(now) is entry
    pool.release(entry, Outcome.ANSWERED, now)
    assert (entry.health.broken_in_a_row, entry.health.quarantines_in_a_row) == (0, 0)


def test_a_claim_cannot_be_released_twice() -> None:
    pool = pool_of(1)
    entry = pool.claim(0.0)
    assert isinstance(entry, PooledBackend)
    pool.release(entry, Outcome.ANSWERED, 0.0)
    with pytest.raises(RuntimeError, match="released twice"):
        pool.release(entry, Outcome.ANSWERED, 0.0)
    with pytest.raises(RuntimeError, match="tunnel"):
        pool.end_tunnel(entry)


def test_p2c_spreads_better_than_chance() -> None:
    loads = {}
    for balance in Balance:
        pool = pool_of(*range(20), balance=balance)
        for _ in range(400):
            pool.claim(0.0)
        loads[balance] = max(entry.in_flight for entry in pool.entries())
    assert loads[Balance.P2C] < loads[Balance.RANDOM]
    assert loads[Balance.P2C] <= 24


def drawn(pool: BackendPool, passed_over: set[str]) -> dict[str, Fraction]:
    """How likely each backend is, reckoned over every draw of random numbers that choosing can make."""
    steps = 12  # of which every number of backends here is a divisor
    found: dict[str, Fraction] = {}

    def follow(draws: tuple[float, ...], share: Fraction) -> None:
        left = iter(draws)
        try:
            pool.random = lambda: next(left)
            chosen = pool.claim(0.0, passed_over=passed_over)
        except StopIteration:  # it asks for one more: each as likely as the others
            for step in range(steps):
                follow((*draws, (step + 0.5) / steps), share / steps)
            return
        assert isinstance(chosen, PooledBackend)
        chosen.in_flight -= 1
        found[chosen.label] = found.get(chosen.label, Fraction(0)) + share

    follow((), Fraction(1))
    return found


def test_who_cannot_be_had_changes_nothing_between_the_others() -> None:
    """Two are drawn before it is known who can be had; that must be as if only those had been there."""
    pool, few = pool_of(1, 2, 3, 4), pool_of(1, 2, 3)
    for entry in (*pool.entries(), *few.entries()):
        entry.in_flight = {"1": 2, "2": 0, "3": 1, "4": 0}[entry.id]
    quarantined = pool.entries()[3]
    quarantined.health.quarantined_until = 5.0
    expected = drawn(few, set())
    assert sum(expected.values()) == 1
    assert len(expected) == 2  # the busiest of three always has one before it
    assert drawn(pool, set()) == expected
    quarantined.health.quarantined_until = 0.0
    assert drawn(pool, {quarantined.id}) == expected
