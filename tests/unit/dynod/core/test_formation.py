"""The formation of `up`: who decides how many, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.formation import MOST_DYNOS, parse_quantities, parse_selection, plan_formation
from dynod.core.procfile import parse_procfile
from dynod.errors import AppFolderError, UsageError

TYPES = parse_procfile("web: w\nrelease: r\nworker: k\nclock: c").types


@pytest.mark.parametrize(
    ("manifest", "m", "arguments", "formation"),
    [
        ({}, "", [], {"web": 1, "worker": 1, "clock": 1}),
        ({"web": 3}, "", [], {"web": 3, "worker": 1, "clock": 1}),
        ({"web": 3, "clock": 0}, "web=2", [], {"web": 2, "worker": 1, "clock": 0}),
        ({}, "worker=0", [], {"web": 1, "worker": 0, "clock": 1}),
        ({}, "all=0,web=1", [], {"web": 1, "worker": 0, "clock": 0}),
        ({"clock": 4}, "all=2", [], {"web": 2, "worker": 2, "clock": 2}),
        ({}, "", ["web"], {"web": 1}),
        ({}, "", ["worker,web"], {"web": 1, "worker": 1}),
        ({"web": 3}, "", ["web"], {"web": 3}),
        ({"web": 3}, "", ["web=1", "clock=2"], {"web": 1, "clock": 2}),
        ({"web": 3}, "web=5", ["web=1"], {"web": 1}),
        ({}, "web=5,worker=7", ["web"], {"web": 5}),
        ({"worker": 0}, "", ["worker"], {"worker": 1}),
        ({"worker": 0}, "worker=0", ["worker"], {"worker": 0}),
        ({}, "", ["web=0"], {"web": 0}),
        ({"release": 1, "gone": 9}, "", [], {"web": 1, "worker": 1, "clock": 1}),
    ],
)
def test_the_nearest_word_wins(
    manifest: dict[str, int], m: str, arguments: list[str], formation: dict[str, int]
) -> None:
    planned = plan_formation(
        TYPES,
        manifest_quantities=manifest,
        m_option=parse_quantities(m) if m else {},
        arguments=parse_selection(arguments),
    )
    assert planned.quantities == formation
    assert list(planned.quantities) == [declared.name for declared in TYPES if declared.name in formation]


def test_dynos_are_numbered_from_one_in_the_order_of_the_procfile() -> None:
    planned = plan_formation(TYPES, manifest_quantities={}, m_option={"clock": 0, "web": 2}, arguments={})
    assert planned.dynos == ("web.1", "web.2", "worker.1")


def test_a_type_named_all_is_a_type() -> None:
    types = parse_procfile("all: x\nweb: y").types
    assert plan_formation(types, manifest_quantities={}, m_option={"all": 3}, arguments={}).quantities == {
        "all": 3,
        "web": 1,
    }


def test_a_procfile_with_only_release_has_an_empty_formation() -> None:
    types = parse_procfile("release: x").types
    assert plan_formation(types, manifest_quantities={}, m_option={}, arguments={}).dynos == ()


@pytest.mark.parametrize(
    ("m", "arguments", "message"),
    [
        (
            {},
            {"wroker": None},
            'no process type "wroker" (the arguments): the Procfile declares web, worker, clock; did you mean "work',
        ),
        ({"db": 1}, {}, 'no process type "db" (-m): the Procfile declares web, worker, clock'),
        ({}, {"all": None}, 'no process type "all" (the arguments)'),
    ],
)
def test_an_unknown_type_is_refused_with_the_known_ones(
    m: dict[str, int], arguments: dict[str, int | None], message: str
) -> None:
    with pytest.raises(AppFolderError) as refused:
        plan_formation(TYPES, manifest_quantities={}, m_option=m, arguments=arguments)
    assert str(refused.value).startswith(message)
    assert refused.value.exit_status == 1


@pytest.mark.parametrize(("m", "arguments"), [({"release": 1}, {}), ({}, {"release": None})])
def test_release_is_asked_for_by_its_option(m: dict[str, int], arguments: dict[str, int | None]) -> None:
    with pytest.raises(UsageError, match="--release"):
        plan_formation(TYPES, manifest_quantities={}, m_option=m, arguments=arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected TYPE=N"),
        ("web", 'found "web"; write "web=1"'),
        ("web=", 'the number of "web" dynos must be 0 to 500, found ""'),
        ("web=two", 'found "two"'),
        ("web=-1", 'found "-1"'),
        ("web=+1", r'found "\+1"'),
        ("web=1.5", 'found "1.5"'),
        ("web=٣", "must be 0 to 500"),
        ("web=501", '501 "web" dynos are too many; 500'),
        ("web=99999999999999999999", "must be 0 to 500"),
        ("web=1,,worker=1", 'found ""'),
        ("web=1,", 'found ""'),
        ("web:2", 'found "web:2"'),
        ("we b=1", 'found "we b=1"'),
        ("=1", 'found "=1"'),
        ("web=1=2", 'found "1=2"'),
        ("web=1,web=2", '"web" is named twice'),
    ],
)
def test_a_malformed_m_option_is_a_usage_error(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_quantities(text)


@pytest.mark.parametrize("arguments", [[""], ["web,"], ["web="], ["web=x"], ["web", "web=2"], ["web,web"], ["a b"]])
def test_a_malformed_argument_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_selection(arguments)


def test_commas_may_have_blanks_around_them() -> None:
    assert parse_quantities("web=2, worker=1") == {"web": 2, "worker": 1}
    assert parse_selection(["web , worker=3"]) == {"web": None, "worker": 3}


@given(st.text() | st.lists(st.sampled_from(["web", "=", ",", "2", " ", "-", "all", "é"])).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        quantities = parse_quantities(text)
    except UsageError:
        return
    assert all(0 <= quantity <= MOST_DYNOS for quantity in quantities.values())
    assert parse_quantities(",".join(f"{name}={quantity}" for name, quantity in quantities.items())) == quantities


QUANTITY = st.integers(0, MOST_DYNOS)
NAME = st.sampled_from([declared.name for declared in TYPES if declared.name != "release"])


@given(
    manifest=st.dictionaries(NAME, QUANTITY),
    m=st.dictionaries(NAME, QUANTITY),
    arguments=st.dictionaries(NAME, st.none() | QUANTITY),
)
def test_only_the_selected_run_and_explicit_numbers_hold(
    manifest: dict[str, int], m: dict[str, int], arguments: dict[str, int | None]
) -> None:
    planned = plan_formation(TYPES, manifest_quantities=manifest, m_option=m, arguments=arguments).quantities
    assert set(planned) == (set(arguments) or {"web", "worker", "clock"})
    for name, quantity in planned.items():
        asked = arguments.get(name)
        if asked is not None:
            assert quantity == asked
        elif name in m:
            assert quantity == m[name]
