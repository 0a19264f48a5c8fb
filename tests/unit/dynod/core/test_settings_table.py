"""Settings of an app: the grammar, what each kind reads and writes, and which of several places holds."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.restart import POLICIES, RestartPolicy
from dynod.core.setting_kinds import Value, shown
from dynod.core.settings_table import (
    DYNO_KNOBS,
    KNOBS,
    Layer,
    check_key,
    dyno_rules,
    parse_assignment,
    read_rows,
    read_table,
    router_changes,
)
from dynod.errors import DynodError, SettingsError, UsageError

PER_TYPE = [knob.name for knob in DYNO_KNOBS]


@pytest.mark.parametrize(
    ("argument", "key", "value", "text"),
    [
        ("worker.grace_s=120", "worker.grace_s", 120.0, "120"),
        ("grace_s = 1.50", "grace_s", 1.5, "1.5"),
        ("restart=heroku", "restart", "heroku", "heroku"),
        ("restart=0, 1.5,60", "restart", (0.0, 1.5, 60.0), "0,1.5,60"),
        ("stop_signal=int", "stop_signal", "SIGINT", "SIGINT"),
        ("stop_signal=SIGUSR2", "stop_signal", "SIGUSR2", "SIGUSR2"),
        ("cycle_s=0", "cycle_s", 0.0, "0"),
        ("session_affinity=on", "session_affinity", True, "true"),
        ("session_affinity=false", "session_affinity", False, "false"),
        ("balance=random", "balance", "random", "random"),
        ("max_queue=10", "max_queue", 10, "10"),
        ("retry_share=1", "retry_share", 1.0, "1"),
        ("error_page_url=https://example.com/a?b=c", *["error_page_url", *["https://example.com/a?b=c"] * 2]),
        ("error_page_url=", "error_page_url", "", ""),
    ],
)
def test_an_assignment_is_read(argument: str, key: str, value: Value, text: str) -> None:
    read = parse_assignment(argument)
    assert (read.key, read.value, read.text) == (key, value, text)
    assert type(read.value) is type(value)


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        ("grace_s", UsageError, 'expected [TYPE.]KEY=VALUE, found "grace_s"'),
        ("=3", UsageError, 'expected [TYPE.]KEY=VALUE, found "=3"'),
        ("grase_s=3", SettingsError, 'grase_s: no such setting; did you mean "grace_s"?'),
        (".grace_s=3", SettingsError, '.grace_s: expected a process type before the dot, found ""'),
        ("w b.grace_s=3", SettingsError, 'w b.grace_s: expected a process type before the dot, found "w b"'),
        ("web.max_queue=3", SettingsError, ("web.max_queue: this is a setting of the app, not of a process type: write "
         "max_queue")),
        ("grace_s=", SettingsError, 'grace_s: expected seconds from 0 to 86400, found ""'),
        ("grace_s=30s", SettingsError, 'grace_s: expected seconds from 0 to 86400, found "30s"'),
        ("grace_s=-1", SettingsError, 'grace_s: expected seconds from 0 to 86400, found "-1"'),
        ("grace_s=inf", SettingsError, 'grace_s: expected seconds from 0 to 86400, found "inf"'),
        ("grace_s=1_0", SettingsError, 'grace_s: expected seconds from 0 to 86400, found "1_0"'),
        ("grace_s=86400.1", SettingsError, 'grace_s: expected seconds from 0 to 86400, found "86400.1"'),
        ("cycle_s=0.5", SettingsError, 'cycle_s: expected seconds from 1 to 2678400, or 0: never, found "0.5"'),
        ("max_queue=1.5", SettingsError, 'max_queue: expected a whole number from 0 to 1000000, found "1.5"'),
        ("retry_share=1.1", SettingsError, 'retry_share: expected a number from 0 to 1, found "1.1"'),
        ("balance=best", SettingsError, 'balance: expected "p2c" or "random", found "best"'),
        ("restart=1,,2", SettingsError, ('restart: expected "ladder" or "heroku", or a list of up to 100 delays in '
         'seconds, found "1,,2"')),
        ("stop_signal=9", SettingsError, ('stop_signal: expected a signal by name, such as "SIGTERM", "SIGINT", '
         '"SIGQUIT", found "9"')),
        ("session_affinity=2", SettingsError, 'session_affinity: expected true or false, found "2"'),
        ("error_page_url=ftp://x", SettingsError, ('error_page_url: expected the http or https address of a page, or '
         '"", found "ftp://x"')),
    ],
)  # fmt: skip
def test_an_assignment_is_refused_in_words(argument: str, error: type[DynodError], message: str) -> None:
    with pytest.raises(error) as caught:
        parse_assignment(argument)
    assert str(caught.value) == message


def test_a_key_alone_is_checked_too() -> None:
    check_key("worker.grace_s")
    with pytest.raises(SettingsError, match='did you mean "grace_s"'):
        check_key("worker.grace")


@given(st.text() | st.from_regex(r"([a-z]{1,5}\.)?[a-z_]{1,15}=.{0,20}"))
def test_any_argument_is_read_or_refused(argument: str) -> None:
    try:
        read = parse_assignment(argument)
    except DynodError:
        return
    assert read.key.rpartition(".")[2] in KNOBS


def values(name: str) -> st.SearchStrategy[object]:
    seconds = st.floats(min_value=0, max_value=86400)
    return {
        "restart": st.sampled_from(sorted(POLICIES)) | st.lists(seconds, min_size=1, max_size=5),
        "stop_signal": st.sampled_from(["SIGTERM", "SIGQUIT"]),
        "balance": st.sampled_from(["p2c", "random"]),
    }.get(name, seconds | st.integers(min_value=0, max_value=10**6) | st.booleans() | st.text(max_size=10))


layers = st.dictionaries(
    st.sampled_from([*KNOBS, *(f"{process_type}.{name}" for process_type in ("web", "worker") for name in PER_TYPE)]),
    st.none(),
).flatmap(lambda keys: st.fixed_dictionaries({key: values(key.rpartition(".")[2]) for key in keys}))


@given(layers)
def test_what_is_written_down_is_read_back(table: Mapping[str, object]) -> None:
    """TOML's types → layer → rows of the store → the same layer."""
    layer, _faults = read_table(table)
    assert read_rows({key: shown(value) for key, value in layer.items()}) == (layer, ())


@given(layers)
def test_a_row_of_a_newer_dynod_is_reported_and_does_no_harm(table: Mapping[str, object]) -> None:
    layer, _faults = read_table(table)
    rows = {key: shown(value) for key, value in layer.items()}
    read, faults = read_rows({**rows, "web.colour": "blue", "grace_s": "a while"})
    assert read == {key: value for key, value in layer.items() if key != "grace_s"}
    assert len(faults) == 2


def test_a_table_in_a_table_is_a_process_type() -> None:
    layer, faults = read_table({"grace_s": 1, "worker": {"grace_s": 2}, "web.grace_s": 3, "clock": {"x": {"y": 1}}})
    assert layer == {"grace_s": 1.0, "worker.grace_s": 2.0, "web.grace_s": 3.0}
    assert faults == ("clock.x: no such setting",)


@pytest.mark.parametrize(
    ("layers_nearest_first", "grace_s"),
    [
        ((), 30.0),
        (({"grace_s": 1.0},), 1.0),
        (({"worker.grace_s": 2.0},), 30.0),
        (({"grace_s": 1.0, "web.grace_s": 2.0},), 2.0),
        (({}, {"web.grace_s": 3.0}), 3.0),
        (
            ({"grace_s": 1.0}, {"web.grace_s": 3.0}),
            1.0,
        ),  # what is said of an app wins over the machine's word for a type
    ],
)
def test_the_nearest_place_wins_and_the_type_over_the_app(
    layers_nearest_first: tuple[Layer, ...], grace_s: float
) -> None:
    assert dyno_rules("web", layers_nearest_first).grace_s == grace_s


LADDER, HEROKU = POLICIES["ladder"], POLICIES["heroku"]


@pytest.mark.parametrize(
    ("layers_nearest_first", "policy"),
    [
        ((), LADDER),
        (({"restart": "heroku"},), HEROKU),
        # A jitter belongs to the ladder it was said of, or of all.
        (({"restart": "heroku"}, {"restart_jitter": 0.5}), HEROKU),
        (({"restart_jitter": 0.5}, {"restart": "heroku"}), RestartPolicy(
            delays_s=HEROKU.delays_s, jitter=0.5, reset_after_s=HEROKU.reset_after_s)),
        (({"restart": "heroku", "restart_reset_after_s": 9.0},), RestartPolicy(
            delays_s=HEROKU.delays_s, jitter=HEROKU.jitter, reset_after_s=9.0)),
        (({"restart_jitter": 0.5},), RestartPolicy(
            delays_s=LADDER.delays_s, jitter=0.5, reset_after_s=LADDER.reset_after_s)),
        (({"web.restart": (1.0, 2.0), "restart_jitter": 0.5},), RestartPolicy(
            delays_s=(1.0, 2.0), jitter=LADDER.jitter, reset_after_s=LADDER.reset_after_s)),
    ],
)  # fmt: skip
def test_a_ladder_brings_its_own_jitter_and_reset(
    layers_nearest_first: tuple[Layer, ...], policy: RestartPolicy
) -> None:
    assert dyno_rules("web", layers_nearest_first).restart == policy


@given(st.lists(layers, max_size=3), st.sampled_from(["web", "worker", "clock"]))
def test_any_layers_make_rules(tables: list[Mapping[str, object]], process_type: str) -> None:
    rules = dyno_rules(process_type, [read_table(table)[0] for table in tables])
    assert rules.restart.delays_s
    assert rules.stop_signal.startswith("SIG")


def test_the_router_is_told_what_the_nearest_place_says() -> None:
    near: Layer = {"max_queue": 1, "web.grace_s": 2.0}
    far: Layer = {"max_queue": 2, "balance": "random", "grace_s": 3.0}
    assert router_changes((near, far)) == {"max_queue": 1, "balance": "random"}
