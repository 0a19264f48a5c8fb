"""Which core is what, and from which program the next one starts: the table, and histories."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.keeper.succession import ENDS, IN_CHARGE, TRANSITIONS, WITHIN_S, Programs, Role, Step, advance

OLD, NEW, NEWEST = ("/1/python",), ("/2/python",), ("/3/python",)


@pytest.mark.parametrize(("role", "step"), [*product(Role, Step)])
def test_each_step_is_in_the_table_or_raises(role: Role, step: Step) -> None:
    if (role, step) in TRANSITIONS:
        assert advance(role, step) is TRANSITIONS[role, step]
    else:
        with pytest.raises(ValueError, match=f"a core that is {role} is not {step}"):
            advance(role, step)


def test_every_core_can_come_to_be_retired_and_a_retired_one_is_nothing_else_ever_again() -> None:
    assert not [step for role, step in TRANSITIONS if role is Role.RETIRED]
    leads_to = {role: {after for (before, _), after in TRANSITIONS.items() if before is role} for role in Role}
    reached = {Role.RETIRED}
    for _ in Role:
        reached |= {role for role in Role if leads_to[role] & reached}
    assert reached == set(Role)


def test_nobody_is_in_charge_who_has_not_been_chosen_or_was_started_alone() -> None:
    entered = {after for (before, _), after in TRANSITIONS.items() if after in IN_CHARGE and before not in IN_CHARGE}
    assert entered == {Role.STARTING}
    assert {step for (before, step), after in TRANSITIONS.items() if after is Role.STARTING} == {Step.CHOSEN}
    assert TRANSITIONS[Role.RETIRING, Step.LET_GO] not in IN_CHARGE


History = list[tuple[float, str]]  # at which second: "2" a core of that program takes over, else how one ended


@pytest.mark.parametrize(
    ("history", "then"),
    [
        ([], OLD),
        ([(1, "dies"), (2, "dies"), (3, "dies"), (4, "dies")], OLD),  # there is no other
        ([(0, "2")], NEW),
        ([(0, "2"), (1, "never in control")], OLD),
        ([(0, "2"), (5, "dies"), (11, "dies")], NEW),
        ([(0, "2"), (5, "dies"), (11, "dies"), (17, "dies")], OLD),
        ([(0, "2"), (5, "dies"), (11, "dies"), (5 + WITHIN_S, "dies")], NEW),
        ([(0, "2"), (5, "dies"), (11, "dies"), (5 + WITHIN_S, "dies"), (6 + WITHIN_S, "dies")], OLD),
        ([(0, "2"), (1, "never in control"), (2, "never in control"), (3, "dies")], OLD),  # and stays with it
        ([(0, "2"), (9, "2"), (10, "dies"), (11, "dies"), (12, "dies")], OLD),  # itself again: nothing is forgotten
        ([(0, "2"), (9, "3"), (10, "dies"), (11, "dies"), (12, "dies")], NEW),
        ([(0, "2"), (9, "1"), (10, "never in control")], NEW),  # a rollback may fail, too
    ],
)
def test_a_new_version_that_does_not_stay_is_followed_by_the_one_before(
    history: History, then: tuple[str, ...]
) -> None:
    programs = Programs(now=OLD)
    for at, what in history:
        if what.isdigit():
            programs = programs.taken_over({"1": OLD, "2": NEW, "3": NEWEST}[what])
        else:
            programs = programs.ended(at, was_in_control=what == "dies")
    assert programs.now == then


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=20))
def test_no_more_than_so_many_ends_are_borne_and_what_went_before_comes_back(ends: list[tuple[float, bool]]) -> None:
    programs, at, borne = Programs(now=OLD).taken_over(NEW), 0.0, list[float]()
    for pause_s, was_in_control in ends:
        at += pause_s
        before = programs
        programs = programs.ended(at, was_in_control=was_in_control)
        if before.now == OLD:
            assert programs.now == OLD, "what has worked is never given up without another"
            continue
        borne = [each for each in borne if at - each < WITHIN_S] + [at]
        assert (programs.now == OLD) is (not was_in_control or len(borne) >= ENDS)
