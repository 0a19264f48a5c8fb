"""`web=2`, `web+1`, `web-1`, several at once: what a formation becomes, or why it stays as it is."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.formation import MOST_DYNOS
from dynod.core.scaling import FormationUpdate, ScalingRefusedError, plan_scaling

TYPES = ("web", "worker", "clock", "release")
NOW = {"web": 2, "worker": 0, "clock": 1}


def update(process_type: str, quantity: int | str | None = None, size: str | None = None) -> FormationUpdate:
    return FormationUpdate(process_type=process_type, quantity=quantity, size=size)


@pytest.mark.parametrize(
    ("updates", "quantities"),
    [
        ([update("web", 3)], {"web": 3}),
        ([update("web", "3")], {"web": 3}),
        ([update("web", "+1")], {"web": 3}),
        ([update("web", "-1")], {"web": 1}),
        ([update("web", "-9")], {"web": 0}),
        ([update("web", 0)], {"web": 0}),
        ([update("web", " 4 ")], {"web": 4}),
        ([update("web", "+1"), update("worker", "+2"), update("clock", 0)], {"web": 3, "worker": 2, "clock": 0}),
        ([update("web", "+1"), update("web", "+1")], {"web": 4}),  # in order, each on what the one before has made
        ([update("web", 5), update("web", "-1")], {"web": 4}),
        ([update("web", MOST_DYNOS)], {"web": MOST_DYNOS}),
        ([update("web")], {}),
        ([], {}),
    ],
)
def test_quantities(updates: list[FormationUpdate], quantities: dict[str, int]) -> None:
    plan = plan_scaling(updates, types=TYPES, quantities=NOW)
    assert plan.quantities == quantities
    assert plan.sizes == {}


@pytest.mark.parametrize(
    ("name", "size"), [("standard-2x", "Standard-2X"), ("2X", "Standard-2X"), ("unsized", "Unsized"), ("Eco", "Eco")]
)
def test_sizes_by_any_spelling(name: str, size: str) -> None:
    plan = plan_scaling([update("web", size=name)], types=TYPES, quantities=NOW)
    assert plan.quantities == {}
    assert {process_type: chosen.name for process_type, chosen in plan.sizes.items()} == {"web": size}


@pytest.mark.parametrize(
    ("refused", "message", "unknown_type"),
    [
        (update("wroker", 1), r"Couldn't find that process type \(wroker\); did you mean \"worker\"\?", True),
        (update("db", 1), r"Couldn't find that process type \(db\); there are web, worker", True),
        (update("release", 1), "release is not scaled", False),
        (update("web", "two"), "Quantity of web: expected a number, \\+N or -N, found 'two'", False),
        (update("web", ""), "Quantity of web: expected", False),
        (update("web", "1.5"), "Quantity of web: expected", False),
        (update("web", "++1"), "Quantity of web: expected", False),
        (update("web", "٣"), "Quantity of web: expected", False),
        (update("web", True), "Quantity of web: expected", False),
        (update("web", -1), "Quantity of web cannot be negative", False),
        (update("web", MOST_DYNOS + 1), "Cannot scale to more than 500 web dynos", False),
        (update("web", "+499"), "Cannot scale to more than 500 web dynos", False),
        (update("web", size="huge"), "No such size as huge", False),
    ],
)
@pytest.mark.parametrize("position", [0, 1])
def test_one_refused_update_refuses_all(
    refused: FormationUpdate, message: str, unknown_type: bool, position: int
) -> None:
    updates = [update("clock", 2)]
    updates.insert(position, refused)
    with pytest.raises(ScalingRefusedError, match=message) as caught:
        plan_scaling(updates, types=TYPES, quantities=NOW)
    assert caught.value.unknown_type is unknown_type


steps = st.lists(
    st.builds(
        update,
        st.sampled_from(TYPES[:3]),
        st.one_of(st.integers(0, 9), st.integers(0, 9).map(str), st.integers(0, 9).map("+{}".format), st.just("-3")),
    ),
    max_size=6,
)


@given(first=steps, second=steps)
def test_updates_at_once_are_updates_one_after_the_other(
    first: list[FormationUpdate], second: list[FormationUpdate]
) -> None:
    def after(quantities: Mapping[str, int], updates: list[FormationUpdate]) -> dict[str, int]:
        return {**quantities, **plan_scaling(updates, types=TYPES, quantities=quantities).quantities}

    assert after(NOW, [*first, *second]) == after(after(NOW, first), second)
    assert all(quantity >= 0 for quantity in after(NOW, first).values())
