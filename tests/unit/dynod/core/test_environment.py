"""The environment of a dyno in `up`: whose word wins, and what is withheld."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynod.core.app_manifest import AppManifest, ManifestVariable, parse_app_manifest
from dynod.core.environment import contained_environment, manifest_values, missing_variables, up_environment

PREFIX = "/opt/dynod"


def environment(
    caller: dict[str, str] | None = None,
    *,
    manifest_env: dict[str, str] | None = None,
    dotenv: list[dict[str, str]] | None = None,
    bins: tuple[str, ...] = (),
    dyno: str = "web.1",
    port: int | None = 20001,
) -> dict[str, str]:
    return up_environment(
        caller={"PATH": "/usr/bin:/bin"} if caller is None else caller,
        dynod_prefix=PREFIX,
        manifest_env=manifest_env or {},
        dotenv=dotenv or [],
        folder_bins=bins,
        dyno=dyno,
        port=port,
    )


def test_an_empty_caller_gives_what_dynod_sets() -> None:
    assert environment({}) == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "DYNO": "web.1",
        "PORT": "20001",
    }


@pytest.mark.parametrize(
    "name",
    [
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "DYNOD_SOCKET",
        "DYNOD_APP",
    ],
)
def test_what_is_dynods_own_is_withheld_unless_the_app_asks(name: str) -> None:
    assert name not in environment({name: "x"})
    assert environment({name: "x"}, dotenv=[{name: "mine"}])[name] == "mine"


def test_names_that_only_resemble_them_stay() -> None:
    kept = {"DYNODE": "1", "NOTIFY_SOCKETS": "2", "MY_DYNOD_X": "3", "WATCHDOG": "4"}
    assert environment(kept).items() >= kept.items()


def test_later_sources_win() -> None:
    caller = {"A": "caller", "B": "caller", "C": "caller", "D": "caller", "PORT": "1", "DYNO": "x"}
    found = environment(
        caller,
        manifest_env={"B": "app.json", "C": "app.json", "D": "app.json"},
        dotenv=[{"C": ".env", "D": ".env", "PORT": "2"}, {"D": ".env.local", "DYNO": "y"}],
    )
    assert [found[name] for name in "ABCD"] == ["caller", "app.json", ".env", ".env.local"]
    assert (found["PORT"], found["DYNO"]) == ("20001", "web.1")


def test_release_has_no_port_whoever_set_one() -> None:
    found = environment({"PORT": "1"}, dotenv=[{"PORT": "2"}], dyno="release.1", port=None)
    assert "PORT" not in found
    assert found["DYNO"] == "release.1"


@pytest.mark.parametrize("value", ["0", "", "x"])
def test_pythonunbuffered_is_set_unless_it_is_set(value: str) -> None:
    assert environment({})["PYTHONUNBUFFERED"] == "1"
    assert environment({"PYTHONUNBUFFERED": value})["PYTHONUNBUFFERED"] == value
    assert environment({}, dotenv=[{"PYTHONUNBUFFERED": value}])["PYTHONUNBUFFERED"] == value


def test_only_dynods_own_virtual_env_is_withheld() -> None:
    assert "VIRTUAL_ENV" not in environment({"VIRTUAL_ENV": "/opt/dynod"})
    assert "VIRTUAL_ENV" not in environment({"VIRTUAL_ENV": "/opt/dynod/"})
    assert environment({"VIRTUAL_ENV": "/opt/dynod2"})["VIRTUAL_ENV"] == "/opt/dynod2"
    assert environment({"VIRTUAL_ENV": ""})["VIRTUAL_ENV"] == ""
    assert environment({}, dotenv=[{"VIRTUAL_ENV": PREFIX}])["VIRTUAL_ENV"] == PREFIX


@pytest.mark.parametrize(
    ("path", "dotenv_path", "bins", "expected"),
    [
        ("/usr/bin", None, (), "/usr/bin"),
        ("/usr/bin", None, ("/a/.venv/bin", "/a/node_modules/.bin"), "/a/.venv/bin:/a/node_modules/.bin:/usr/bin"),
        ("/usr/bin:/a/.venv/bin/:/bin", None, ("/a/.venv/bin",), "/a/.venv/bin:/usr/bin:/bin"),
        ("/usr/bin", "/mine", ("/a/venv/bin",), "/a/venv/bin:/mine"),
        ("/opt/dynod/bin:/usr/bin:/bin", None, ("/a/.venv/bin",), "/a/.venv/bin:/usr/bin:/bin:/opt/dynod/bin"),
        ("/opt/dynod/bin:/usr/bin", None, (), "/opt/dynod/bin:/usr/bin"),
        ("/opt/dynod/bin:/usr/bin", None, ("/a/node_modules/.bin",), "/a/node_modules/.bin:/opt/dynod/bin:/usr/bin"),
        ("/opt/dynod/bin:/usr/bin", None, ("/opt/dynod/bin",), "/opt/dynod/bin:/usr/bin"),
        ("", None, ("/a/.venv/bin",), "/a/.venv/bin:/usr/local/bin:/usr/bin:/bin"),
        ("/usr/bin:", None, (), "/usr/bin:"),
    ],
)
def test_the_folders_programs_come_first_and_dynods_shadow_none(
    path: str, dotenv_path: str | None, bins: tuple[str, ...], expected: str
) -> None:
    dotenv = [] if dotenv_path is None else [{"PATH": dotenv_path}]
    assert environment({"PATH": path}, dotenv=dotenv, bins=bins)["PATH"] == expected


VALUES = st.text(st.characters() | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]))


@given(st.dictionaries(st.text(min_size=1), VALUES), st.dictionaries(st.text(min_size=1), VALUES))
def test_values_pass_untouched_and_nothing_is_invented(caller: dict[str, str], dotenv: dict[str, str]) -> None:
    before = dict(caller)
    found = environment(caller, dotenv=[dotenv])
    assert caller == before
    own = {"PATH", "PYTHONUNBUFFERED", "DYNO", "PORT"}
    assert set(found) <= set(caller) | set(dotenv) | own
    for name, value in dotenv.items():
        assert name in own or found[name] == value


def test_a_secret_is_generated_only_where_nobody_gives_one() -> None:
    manifest = parse_app_manifest(
        '{"env": {"PLAIN": "p", "VALUED": {"value": "v"}, "KEY": {"generator": "secret"},'
        ' "SET": {"generator": "secret"}, "BOTH": {"generator": "secret", "value": "b"}, "NONE": {"description": "x"}}}'
    )
    made = iter(["first", "second"])
    assert manifest_values(manifest, elsewhere={"SET"}, secret=lambda: next(made)) == {
        "PLAIN": "p",
        "VALUED": "v",
        "KEY": "first",
        "BOTH": "b",
    }
    assert next(made) == "second"


def test_a_required_variable_without_a_value_is_a_fault() -> None:
    manifest = AppManifest(
        env={
            "A": ManifestVariable(line=3, description="a key"),
            "B": ManifestVariable(required=False),
            "C": ManifestVariable(value=""),
            "D": ManifestVariable(generated=True),
            "E": ManifestVariable(line=9),
        }
    )
    (fault,) = missing_variables(manifest, elsewhere={"E"})
    assert str(fault) == (
        "app.json line 3: env.A is required and has no value: set it in .env or in the environment (a key)"
    )


def test_a_dyno_in_a_container_has_its_places_and_none_of_its_callers() -> None:
    caller = {
        "PATH": "/usr/bin",
        "HOME": "/home/me",
        "PWD": "/src/shop",
        "TMPDIR": "/mine",
        "XDG_RUNTIME_DIR": "/run/me",
    }
    own = environment({**caller, "EDITOR": "vi"}, bins=("/src/shop/.venv/bin", "/src/shopping/bin"))
    inside = contained_environment(own, folder="/src/shop")
    assert inside["PATH"] == "/app/.venv/bin:/src/shopping/bin:/usr/bin"
    assert (inside["HOME"], inside["PWD"], inside["EDITOR"], inside["PORT"]) == ("/app", "/app", "vi", "20001")
    assert not inside.keys() & {"TMPDIR", "XDG_RUNTIME_DIR"}
