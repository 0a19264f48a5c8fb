"""dynod.toml, environment and flags: who wins, what is refused and in which words, and that the sample file is true."""

import re
import signal
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.restart import POLICIES
from dynod.core.settings_table import KNOBS, ROUTER_KNOBS, dyno_rules
from dynod.errors import SettingsError
from dynod.listeners import ListenAddress
from dynod.settings import Dynos, Logs, Serve, Settings, load_settings, settings_file, state_folder, stop_rule
from router.settings import RouterSettings
from support.source_tree import REPOSITORY

SAMPLE = REPOSITORY / "config" / "dynod.toml"
PATHS = 'a path, or "": the default place'
ROUTERS = "a number, a text, a list of texts, true or false"


def load(
    text: str = "",
    tmp_path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str | list[str]] | None = None,
    verb: Any = "up",
) -> Settings:
    file = None
    if tmp_path is not None:
        file = tmp_path / "dynod.toml"
        file.write_text(text)
    return load_settings(file, environ=environ or {}, flags=flags or {}, verb=verb)


def faults(text: str, tmp_path: Path, verb: Any = "up") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text, tmp_path, verb=verb)
    return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]


# --- precedence -----------------------------------------------------------------------------------------------------


def test_nothing_set_gives_the_defaults() -> None:
    assert load() == Settings()


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    text = "[serve]\nmetrics = '1'\napi = '1'\nstate = '/file'"
    environ = {"DYNOD_SERVE_METRICS": "2", "DYNOD_SERVE_API": "2"}
    settings = load(text, tmp_path, environ, {"serve.metrics": "3"})
    assert settings.serve.metrics == ListenAddress(host=None, port=3)
    assert settings.serve.api == ListenAddress(host=None, port=2)
    assert settings.serve.state == "/file"
    assert settings.serve.apps_domain == "localhost"


def test_a_flag_given_twice_is_a_list() -> None:
    settings = load(flags={"serve.listen": ["0.0.0.0:80", "[::]:80"]})
    assert settings.serve.listen == (ListenAddress(host="0.0.0.0", port=80), ListenAddress(host="::", port=80))


def test_an_address_can_be_switched_off_again(tmp_path: Path) -> None:
    assert load("[serve]\napi = '5001'", tmp_path, {"DYNOD_SERVE_API": ""}).serve.api is None


def test_the_environment_reaches_every_section() -> None:
    environ = {
        "DYNOD_SERVE_LISTEN": "80, [::1]:81",
        "DYNOD_DYNOS_STARTS_AT_ONCE": "3",
        "DYNOD_DYNOS_RESTART": "0, 1.5, 60",
        "DYNOD_LOGS_STALL_S": "0",
        "DYNOD_ROUTER_MAX_QUEUE": "7",
        "DYNOD_ROUTER_BALANCE": "random",
        "DYNOD_ROUTER_TRUSTED_PROXIES": '["10.0.0.0/8"]',
        "DYNOD_APP_SESSION_AFFINITY": "on",
        # Other variables of dynod's
        "DYNOD_APP": "demo",
        "DYNOD_SOCKET": "/x",
        "DYNOD_HOST": "ssh://u@h",
    }
    settings = load(environ=environ)
    assert settings.serve.listen == (ListenAddress(host=None, port=80), ListenAddress(host="::1", port=81))
    assert settings.dynos == Dynos(starts_at_once=3, rules={"restart": (0.0, 1.5, 60.0)})
    assert settings.logs.stall_s == 0
    assert settings.router == {"max_queue": 7, "balance": "random", "trusted_proxies": ["10.0.0.0/8"]}
    assert RouterSettings.from_mapping(settings.router).max_queue == 7
    assert settings.app == {"session_affinity": True}


def test_what_was_decided_can_be_left_with_the_keeper(tmp_path: Path) -> None:
    text = """
        [serve]
        api = "127.0.0.1:1"
        [dynos]
        restart = [0, 2]
        worker.grace_s = 1.5
        [router]
        trusted_proxies = []
        retry_share = 0.5
        [app]
        balance = "random"
    """
    settings = load(text, tmp_path)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


# --- refusals -------------------------------------------------------------------------------------------------------


def test_every_fault_is_named_with_file_key_found_and_expected(tmp_path: Path) -> None:
    text = """
        [sevre]
        [serve]
        listen = ["0.0.0.0:80", "eighty"]
        lisen = 1
        default_app = "Upper"
        apps_domain = "-x"
        state = 3
        [dynos]
        grase_s = 1
        restart = "never"
        worker.grace_s = -1
        worker.starts_at_once = 2
        "a.b.grace_s" = 1
        starts_at_once = -2
        [logs]
        stall_s = nan
        [app]
        web.balance = "p2c"
        grace_s = true
    """
    assert faults(text, tmp_path) == [
        'dynod.toml: sevre: no such section; did you mean "serve"?',
        'dynod.toml: serve.listen: expected [HOST:]PORT, or a list of them, found ["0.0.0.0:80", "eighty"] (at line 4)',
        'dynod.toml: serve.default_app: expected the name of an app, or "": the only one, found "Upper" (at line 6)',
        'dynod.toml: serve.apps_domain: expected a domain name in lower case, found "-x" (at line 7)',
        'dynod.toml: serve.state: expected a path, or "": the default place, found 3 (at line 8)',
        'dynod.toml: serve.lisen: no such setting; did you mean "listen"? (at line 5)',
        (
            "dynod.toml: dynos.starts_at_once: expected a whole number from 1 to 10000, or 0: four a processor, "
            "found -2 (at line 15)"
        ),
        'dynod.toml: dynos.grase_s: no such setting; did you mean "grace_s"? (at line 10)',
        (
            'dynod.toml: dynos.restart: expected "ladder" or "heroku", or a list of up to 100 delays in seconds, '
            'found "never" (at line 11)'
        ),
        "dynod.toml: dynos.worker.grace_s: expected seconds from 0 to 86400, found -1 (at line 12)",
        (
            "dynod.toml: dynos.worker.starts_at_once: this is a setting of dynod, not of a process type: "
            "write starts_at_once (at line 13)"
        ),
        'dynod.toml: dynos.a.b.grace_s: expected a process type before the dot, found "a.b" (at line 14)',
        "dynod.toml: logs.stall_s: expected seconds from 0 to 2678400, or 0: never, found nan (at line 17)",
        "dynod.toml: app.web.balance: this is a setting of the app, not of a process type: write balance (at line 19)",
        "dynod.toml: app.grace_s: expected seconds from 0 to 86400, found true (at line 20)",
    ]


def test_a_variable_and_a_flag_are_named_as_they_were_written() -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ={"DYNOD_DYNOS_CYCLE_S": "daily"}, flags={"serve.metrics": "nine"})
    assert str(caught.value).splitlines() == [
        'DYNOD_DYNOS_CYCLE_S: dynos.cycle_s: expected seconds from 1 to 2678400, or 0: never, found "daily"',
        '--metrics: serve.metrics: expected [HOST:]PORT, or "": off, found "nine"',
    ]


def test_app_is_not_for_serve(tmp_path: Path) -> None:
    (fault,) = faults("[app]\ngrace_s = 3", tmp_path, verb="serve")
    assert fault.startswith("dynod.toml: app: this is for `dynod up`; with `dynod serve`")
    assert load("[app]", tmp_path, verb="serve") == Settings()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[serve\n", "dynod.toml: Expected ']' at the end of a table declaration (at line 1, column 7)"),
        (b"serve = 3", "dynod.toml: serve: expected a table, found 3"),
        (b"[serve]\nstate = '\xff'", "dynod.toml: expected text in UTF-8"),
        (b"[serve]\nstate = {}", f"dynod.toml: serve.state: expected {PATHS}, found a table (at line 2)"),
        (b"[router]\na = {}", f"dynod.toml: router.a: expected {ROUTERS}, found a table (at line 2)"),
        (b"[app]\ngrace_s = {a = 1}", "dynod.toml: app.grace_s.a: no such setting"),
        (b'[app]\n"a\\nb" = 1', "dynod.toml: app.a\\nb: no such setting"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, fault: str) -> None:
    file = tmp_path / "dynod.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, environ={}, verb="up")
    assert str(caught.value) == f"{tmp_path}/{fault}"


def test_a_file_asked_for_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.toml: No such file or directory"):
        load_settings(tmp_path / "missing.toml", environ={})


toml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
known_keys = sorted({*KNOBS, "listen", "api", "state", "starts_at_once", "stall_s", "default_app"})


@given(
    section=st.sampled_from(["serve", "dynos", "logs", "router", "app"]),
    table=st.dictionaries(st.sampled_from(known_keys) | st.text(max_size=8), toml_values, max_size=5),
)
def test_any_table_gives_settings_or_a_message(section: str, table: dict[str, object]) -> None:
    """What TOML can say is never met by a traceback."""
    from dynod.settings import _Reading  # noqa: PLC0415 (the file's text would only get in the way)

    reading = _Reading("up")
    reading._section("dynod.toml", section, dict(table))
    message = ""
    try:
        settings = reading.settings()
    except SettingsError as error:
        message = str(error)
    if message:
        assert all(line.startswith("dynod.toml: ") for line in message.splitlines())
    else:
        assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings
        settings.dyno_rules("web")
        RouterSettings.from_mapping(settings.app_router())


# --- what holds -----------------------------------------------------------------------------------------------------


def test_the_store_wins_over_app_over_dynos(tmp_path: Path) -> None:
    text = "[dynos]\ngrace_s = 1\nboot_timeout_s = 10\ncycle_s = 100\n[app]\ngrace_s = 2\nboot_timeout_s = 20"
    rules = load(text, tmp_path).dyno_rules("web", {"web.grace_s": "3"})
    assert (rules.grace_s, rules.boot_timeout_s, rules.cycle_s) == (3.0, 20.0, 100.0)


def test_the_router_of_an_app_is_changed_by_store_and_app_alone(tmp_path: Path) -> None:
    settings = load("[router]\nmax_queue = 1\n[app]\nmax_open = 2\nmax_body = 5", tmp_path)
    assert settings.app_router({"max_open": "3", "balance": "random", "worker.grace_s": "1"}) == {
        "balance": "random",
        "max_open": 3,
        "max_body": 5,
    }


def test_a_stop_signal_becomes_a_number() -> None:
    rule = stop_rule(dyno_rules("web", ({"stop_signal": "SIGQUIT", "grace_s": 5.0},)))
    assert (rule.signal, rule.grace_s) == (signal.SIGQUIT, 5.0)


# --- where things are -----------------------------------------------------------------------------------------------


def test_serve_reads_the_file_asked_for_then_the_variables_then_the_systems(tmp_path: Path) -> None:
    system = tmp_path / "dynod.toml"
    assert settings_file(None, {}, system=system) is None
    system.touch()
    assert settings_file(None, {}, system=system) == system
    assert settings_file(None, {"DYNOD_CONFIG": "/a"}, system=system) == Path("/a")
    assert settings_file(Path("/b"), {"DYNOD_CONFIG": "/a"}, system=system) == Path("/b")


@pytest.mark.parametrize(
    ("state", "environ", "uid", "expected"),
    [
        ("/s", {"STATE_DIRECTORY": "/d"}, 0, "/s"),
        ("", {"STATE_DIRECTORY": "/d"}, 0, "/d"),
        ("", {"STATE_DIRECTORY": "/d:/e"}, 1000, "/d"),
        ("", {}, 0, "/var/lib/dynod"),
        ("", {"XDG_STATE_HOME": "/x", "HOME": "/h"}, 1000, "/x/dynod"),
        ("", {"HOME": "/h"}, 1000, "/h/.local/state/dynod"),
    ],
)
def test_where_the_state_is_kept(state: str, environ: dict[str, str], uid: int, expected: str) -> None:
    assert state_folder(Settings(serve=Serve(state=state)), environ, uid=uid) == Path(expected)


def test_a_folder_of_state_is_named_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers are made of parts of it by programs that run elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert state_folder(Settings(serve=Serve(state="./state")), {}) == tmp_path / "state"


# --- the sample file ------------------------------------------------------------------------------------------------


def sample() -> dict[str, dict[str, object]]:
    return tomllib.loads(SAMPLE.read_text())


def test_the_sample_says_the_defaults() -> None:
    settings = load_settings(SAMPLE, environ={}, verb="serve")
    assert settings == load_settings(SAMPLE, environ={}, verb="up")
    assert settings.serve == Serve()
    assert settings.logs == Logs()
    plain = {name: getattr(settings.dynos, name) for name in Dynos.__struct_fields__ if name != "rules"}
    assert plain == {name: getattr(Dynos(), name) for name in plain}
    assert settings.dyno_rules("web") == Settings().dyno_rules("web")
    assert settings.dyno_rules("web").restart == POLICIES["ladder"]
    assert RouterSettings.from_mapping(settings.router) == RouterSettings()
    assert settings.app == {}


def test_the_sample_names_every_setting() -> None:
    table = sample()
    assert set(table) == set(Settings.__struct_fields__)
    assert set(table["serve"]) == set(Serve.__struct_fields__)
    assert set(table["logs"]) == set(Logs.__struct_fields__)
    plain = set(Dynos.__struct_fields__) - {"rules"}
    assert set(table["dynos"]) == plain | {name for name, knob in KNOBS.items() if knob.per_type}
    assert set(table["router"]) == set(RouterSettings.__dataclass_fields__)


def test_the_sample_shows_every_setting_of_an_app_as_it_would_be_written() -> None:
    commented = SAMPLE.read_text().partition("\n[app]")[2]
    lines = re.findall(r"^# ([a-z_.]+ = .*)$", commented, re.MULTILINE)
    table = tomllib.loads("\n".join(["[app]", *lines]))["app"]
    assert table.pop("worker") == {"grace_s": 120}
    assert set(table) == set(KNOBS)
    whole = sample()
    assert table.pop("mask_config_vars") is Settings().masks_config_vars() is False
    assert table.pop("log_runtime_metrics") is Settings().logs_runtime_metrics() is False
    assert table == {name: {**whole["router"], **whole["dynos"]}[name] for name in table}


def test_each_setting_of_the_sample_has_its_sentence() -> None:
    """A comment stands above each setting, or above the first of a few that it tells of together."""
    above = ""
    for line in SAMPLE.read_text().partition("\n[app]")[0].splitlines():
        assert not (re.match(r"[a-z_]+ = ", line) and above in {"", "["}), f"{line}: no sentence above"
        above = line[:1]


def test_the_knobs_of_an_app_are_knobs_of_the_router_with_its_types() -> None:
    """Pure code cannot import the router: this holds the two tables together."""
    defaults = {name: field.default for name, field in RouterSettings.__dataclass_fields__.items()}
    for knob in ROUTER_KNOBS:
        default = defaults[knob.name]
        fitted = knob.kind.fit(default if isinstance(default, bool | int | float) else str(default))
        assert fitted == default, knob.name
        assert RouterSettings.from_mapping({knob.name: fitted}) == RouterSettings()
