"""Port allotment: never two owners, and the longest unused port first."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dynod.core.ports import FIRST_PORT, LAST_PORT, PortAllotment

EVERY_PORT = frozenset(range(FIRST_PORT, LAST_PORT + 1))


def test_unused_ports_come_in_order_from_the_start() -> None:
    ports = PortAllotment(start=29998)
    assert list(ports.candidates())[:4] == [29998, 29999, 20000, 20001]
    assert set(ports.candidates()) == EVERY_PORT


def test_a_port_given_back_is_the_last_to_be_offered() -> None:
    ports = PortAllotment()
    for port in (20000, 20001, 20002):
        ports.take(port)
    ports.give_back(20001)
    ports.give_back(20000)
    offered = list(ports.candidates())
    assert offered[0] == 20003
    assert offered[-2:] == [20001, 20000]


def test_ports_of_a_former_core_are_not_offered() -> None:
    ports = PortAllotment(taken=[20000, 20007])
    assert ports.taken == {20000, 20007}
    assert not ports.taken & set(ports.candidates())


def test_a_port_that_a_stranger_holds_goes_to_the_end() -> None:
    ports = PortAllotment()
    assert ports.take_first(lambda port: port >= 20002) == 20002
    offered = list(ports.candidates())
    assert offered[0] == 20003
    assert offered[-2:] == [20000, 20001]


def test_when_nothing_is_free_there_is_no_port_and_nothing_is_lost() -> None:
    ports = PortAllotment()
    assert ports.take_first(lambda _: False) is None
    assert set(ports.candidates()) == EVERY_PORT
    assert ports.take_first(lambda _: True) == 20000


@pytest.mark.parametrize("port", [FIRST_PORT - 1, LAST_PORT + 1, 0, -1])
def test_other_ports_are_no_business_of_the_allotment(port: int) -> None:
    with pytest.raises(ValueError, match="is not between"):
        PortAllotment().take(port)
    with pytest.raises(ValueError, match="is not between"):
        PortAllotment(start=port)
    with pytest.raises(ValueError, match="is not between"):
        PortAllotment(taken=[port])


def test_taking_twice_and_giving_back_twice_are_bugs_that_show() -> None:
    ports = PortAllotment()
    ports.take(20000)
    with pytest.raises(ValueError, match="belongs to another dyno"):
        ports.take(20000)
    ports.give_back(20000)
    with pytest.raises(ValueError, match="belongs to no dyno"):
        ports.give_back(20000)


FEW = range(FIRST_PORT, FIRST_PORT + 6)  # few enough that ports come round again


class Allotment(RuleBasedStateMachine):
    """Any history of dynos coming and going, beside a model that remembers when each port was last busy."""

    def __init__(self) -> None:
        super().__init__()
        self.ports = PortAllotment(taken=EVERY_PORT - set(FEW))
        self.owned: set[int] = set()
        self.last_busy = dict.fromkeys(FEW, 0)
        self.now = 0

    @rule(strangers=st.sets(st.sampled_from(FEW), max_size=3))
    def start(self, strangers: set[int]) -> None:
        probed: list[int] = []

        def is_free(port: int) -> bool:
            probed.append(port)
            return port not in strangers

        free = set(FEW) - self.owned - strangers
        port = self.ports.take_first(is_free)
        if port is None:
            assert not free
        else:
            assert port in free
            assert self.last_busy[port] == min(self.last_busy[other] for other in free)
            self.owned.add(port)
        for stranger in (other for other in probed if other in strangers):
            self.now += 1
            self.last_busy[stranger] = self.now

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        port = data.draw(st.sampled_from(sorted(self.owned)))
        self.now += 1
        self.owned.remove(port)
        self.last_busy[port] = self.now
        self.ports.give_back(port)

    @invariant()
    def every_port_is_owned_or_offered(self) -> None:
        offered = list(self.ports.candidates())
        assert self.ports.taken & set(FEW) == self.owned
        assert sorted(offered) == sorted(set(FEW) - self.owned)


TestAllotment = Allotment.TestCase
TestAllotment.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
