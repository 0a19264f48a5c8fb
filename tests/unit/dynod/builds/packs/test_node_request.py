"""What a package.json asks for, and what the build makes of it."""

import json

import pytest

from dynod.builds.packs.core.node_request import (
    Manager,
    NodeApp,
    choose_node,
    default_process_types,
    exact_version,
    keeps_dev_dependencies,
    modules_key,
    read_node_app,
)
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Version, read_version

THERE = [Version(major=20, minor=20, patch=2), Version(major=18, minor=19), Version(major=22, minor=1)]


def app(package: object, *names: str) -> NodeApp:
    files = {"package.json": package if isinstance(package, str) else json.dumps(package)}
    return read_node_app({"package.json", *names}, files.get)


@pytest.mark.parametrize(
    ("engines", "chosen"),
    [
        (None, "20.20.2"),
        ("20.x", "20.20.2"),
        (">=18", "20.20.2"),
        (">=22 || 18", "22.1.0"),
        ("^18.17", "18.19.0"),
        ("18 || 20", "20.20.2"),
    ],
)
def test_the_node_that_is_asked_for_is_chosen(engines: str | None, chosen: str) -> None:
    assert str(choose_node(app({"engines": {"node": engines}} if engines else {}), THERE)) == chosen


def test_where_it_is_not_there_the_build_says_what_there_is_and_where_one_is_found() -> None:
    with pytest.raises(PackError, match=r"Node.js 24.x is asked for by engines.node .* 18.19.0, 20.20.2, 22.1.0"):
        choose_node(app({"engines": {"node": "24.x"}}), THERE)
    with pytest.raises(PackError, match="apt-get install nodejs npm"):
        choose_node(app({}), [])


@pytest.mark.parametrize(
    ("package", "names", "manager", "version"),
    [
        ({}, (), Manager.NPM, None),
        ({}, ("package-lock.json",), Manager.NPM, None),
        ({}, ("npm-shrinkwrap.json",), Manager.NPM, None),
        ({}, ("yarn.lock",), Manager.YARN, None),
        ({"engines": {"yarn": "1.x", "npm": "10.x"}}, ("yarn.lock",), Manager.YARN, "1.x"),
        ({}, ("pnpm-lock.yaml",), Manager.PNPM, None),
        ({"packageManager": "pnpm@9.1.0+sha512.abcdef"}, ("pnpm-lock.yaml",), Manager.PNPM, "=9.1.0"),
        ({"packageManager": "yarn@4.2.1"}, (), Manager.YARN, "=4.2.1"),
        ({"packageManager": "yarn@4.2.1"}, ("package-lock.json",), Manager.NPM, None),
        ({"packageManager": "bun@1.0.0"}, (), Manager.NPM, None),
    ],
)
def test_the_lock_file_says_which_manager(
    package: object, names: tuple[str, ...], manager: Manager, version: str | None
) -> None:
    read = app(package, *names)
    assert (read.manager, read.manager_version.written if read.manager_version else None) == (manager, version)


def test_lock_files_of_two_managers_are_refused() -> None:
    with pytest.raises(PackError, match=r"yarn\.lock and package-lock\.json"):
        app({}, "yarn.lock", "package-lock.json")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"engines": {"node": "lts"}}'])
def test_a_package_json_that_means_nothing_is_refused_by_name(text: str) -> None:
    with pytest.raises(PackError, match=r"package\.json"):
        app(text)


@pytest.mark.parametrize(
    ("scripts", "build"),
    [
        ({}, None),
        ({"build": "x"}, "build"),
        ({"build": "x", "heroku-postbuild": "y"}, "heroku-postbuild"),
        ({"start": "x"}, None),
    ],
)
def test_one_build_script_is_run_herokus_own_first(scripts: dict[str, str], build: str | None) -> None:
    assert app({"scripts": scripts}).build_script() == build


@pytest.mark.parametrize(
    ("package", "names", "types"),
    [
        ({"scripts": {"start": "node ."}}, (), {"web": "npm start"}),
        ({}, ("server.js",), {"web": "npm start"}),
        ({"scripts": {"build": "x"}}, (), {}),
    ],
)
def test_without_a_procfile_npm_starts_it(package: object, names: tuple[str, ...], types: dict[str, str]) -> None:
    assert default_process_types({"package.json", *names}, {"package.json": json.dumps(package)}.get) == types


@pytest.mark.parametrize(
    ("manager", "environment", "kept"),
    [
        (Manager.NPM, {}, False),
        (Manager.NPM, {"NODE_ENV": "staging"}, True),
        (Manager.NPM, {"NPM_CONFIG_PRODUCTION": "false"}, True),
        (Manager.YARN, {"NPM_CONFIG_PRODUCTION": "false"}, False),
        (Manager.YARN, {"YARN_PRODUCTION": "false"}, True),
        (Manager.YARN, {"YARN2_SKIP_PRUNING": "true"}, True),
        (Manager.PNPM, {"PNPM_SKIP_PRUNING": "true"}, True),
        (Manager.PNPM, {"PNPM_SKIP_PRUNING": "false"}, False),
    ],
)
def test_what_only_the_build_needed_stays_where_a_config_var_says_so(
    manager: Manager, environment: dict[str, str], *, kept: bool
) -> None:
    assert keeps_dev_dependencies(manager, environment) is kept


PACKAGE = {"dependencies": {"ms": "2.1.3"}, "scripts": {"start": "node ."}}
NODE = Version(major=20)


def key(
    package: object = None, *, lock: str = "{}", node: Version = NODE, settings: tuple[str, ...] = (), extra: str = ""
) -> str:
    files = {"package.json": json.dumps(package or PACKAGE), "package-lock.json": lock}
    names = {*files, *([extra] if extra else [])}
    return modules_key(read_node_app(names, files.get), files.get, node=node, manager="npm 10", settings=settings)


def test_equal_locks_have_an_equal_key_whatever_else_changes() -> None:
    assert key() == key({**PACKAGE, "scripts": {"start": "other"}, "version": "2.0.0"})
    others = [
        key(lock='{"a": 1}'),
        key(node=Version(major=22)),
        key({"dependencies": {"ms": "2.1.2"}}),
        key(settings=("NPM_CONFIG_REGISTRY=http://x",)),
    ]
    assert len({key(), *others}) == 1 + len(others)


def test_no_key_where_the_lock_does_not_say_all() -> None:
    assert key({"dependencies": {"mine": "file:./lib"}}) == ""
    assert key({**PACKAGE, "workspaces": ["packages/*"]}) == ""
    package = {"package.json": json.dumps(PACKAGE)}
    bare = read_node_app(package, package.get)
    assert modules_key(bare, package.get, node=NODE, manager="npm 10", settings=()) == ""


def test_what_package_manager_names_is_one_version_and_an_engine_a_range() -> None:
    named = app({"packageManager": "pnpm@9.1.0"}, "pnpm-lock.yaml").manager_version
    ranged = app({"engines": {"pnpm": "9.x"}}, "pnpm-lock.yaml").manager_version
    assert named is not None
    assert ranged is not None
    assert exact_version(named) == read_version("9.1.0")
    assert exact_version(ranged) is None
