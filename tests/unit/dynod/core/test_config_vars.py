"""A change of config vars: what is taken, what it comes to, what it is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.config_vars import MOST_BYTES, ConfigRefusedError, change_config, config_bytes, names_that_differ

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
CONFIGS = st.dictionaries(NAMES, VALUES, max_size=6)
CHANGES = st.dictionaries(NAMES, st.none() | VALUES, max_size=6)


@pytest.mark.parametrize(
    ("config", "changes", "description"),
    [
        ({}, {"FOO": "1"}, "Set FOO config vars"),
        ({}, {"FOO": "1", "BAR": ""}, "Set BAR, FOO config vars"),
        ({"FOO": "1"}, {"FOO": None}, "Remove FOO config vars"),
        ({"FOO": "1", "BAR": "2"}, {"FOO": None, "BAR": "3"}, "Set BAR and remove FOO config vars"),
        ({"FOO": "1"}, {"FOO": "1", "BAR": "2"}, "Set BAR config vars"),
    ],
)
def test_a_change_is_called_as_heroku_calls_it(
    config: dict[str, str], changes: dict[str, str | None], description: str
) -> None:
    assert change_config(config, changes).description == description


@pytest.mark.parametrize("changes", [{}, {"FOO": "1"}, {"BAR": None}])
def test_a_change_that_changes_nothing_is_none(changes: dict[str, str | None]) -> None:
    assert change_config({"FOO": "1"}, changes).is_empty


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "A" * 257])
def test_a_name_that_no_shell_can_set_is_refused(name: str) -> None:
    with pytest.raises(ConfigRefusedError, match="expected a name of letters"):
        change_config({}, {name: "1"})


@pytest.mark.parametrize("value", ["secret\0", "secret\udcff"])
def test_a_value_that_no_environment_holds_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigRefusedError) as refused:
        change_config({}, {"TOKEN": value})
    assert "TOKEN" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigRefusedError) as refused:
        change_config({}, {"1": "a", "2": "b"})
    assert len(str(refused.value).splitlines()) == 2


def test_all_of_an_app_has_64_kb_and_may_always_become_less() -> None:
    full = {"A": "x" * (MOST_BYTES - 1)}
    assert not change_config({}, {**full}).is_empty
    with pytest.raises(ConfigRefusedError, match=f"would take {MOST_BYTES + 1} bytes"):
        change_config(full, {"A": full["A"] + "x"})
    beyond = {"A": "x" * MOST_BYTES, "B": "x" * 100}  # as an older limit has left it
    assert change_config(beyond, {"B": "x"}).set_names == ("B",)


@given(CONFIGS, CHANGES)
def test_a_change_comes_to_what_it_says(config: dict[str, str], changes: dict[str, str | None]) -> None:
    change = change_config(config, changes)
    for name in {*config, *changes}:
        assert change.config.get(name) == (changes[name] if name in changes else config[name])
    assert sorted((*change.set_names, *change.removed_names)) == names_that_differ(config, change.config)
    assert change_config(change.config, changes).is_empty


@given(CONFIGS, CHANGES)
def test_replace_leaves_nothing_else(config: dict[str, str], changes: dict[str, str | None]) -> None:
    wanted = {name: value for name, value in changes.items() if value is not None}
    assert change_config(config, changes, replace=True).config == wanted


@given(CONFIGS)
def test_the_size_counts_names_and_values(config: dict[str, str]) -> None:
    assert config_bytes(config) == len("".join(name + value for name, value in config.items()).encode())
