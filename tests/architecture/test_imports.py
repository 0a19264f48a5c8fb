"""Who may import whom: what import-linter's contracts (pyproject.toml) cannot say, or can only say of source text."""

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.source_tree import PACKAGES, REPOSITORY, Module, modules

VAGUE = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "misc", "options", "base"})
STANDARD_LIBRARY = sys.stdlib_module_names

# Of the project's own packages, what each part may import besides itself (ARCHITECTURE.md, "Who may import whom").
MAY_IMPORT = {
    "router": (),
    "dynod.core": ("dynod.errors",),
    "dynod.keeper": (),
    "dynod.process": ("dynod.core", "dynod.errors"),
    "dynod.logs": ("dynod.core", "dynod.errors"),
    "dynod.store": ("dynod.core", "dynod.errors"),
    "dynod.builds": ("dynod.core", "dynod.errors"),
    "dynod.builds.packs": ("dynod.errors",),
    "dynod.platform_api": (
        "dynod.access",
        "dynod.operations",
        "dynod.app_config",
        "dynod.app_domains",
        "dynod.app_features",
        "dynod.app_storage",
        "dynod.status_report",
        "dynod.app_logs",
        "dynod.stored_resources",
        "dynod.webhook_sender",
        "dynod.app_figures",
        "dynod.core",
        "dynod.errors",
        "dynod.__version__",
    ),
    "dynod.access": ("dynod.core", "dynod.errors"),
    "dynod.app_folder": ("dynod.core", "dynod.errors"),
    "dynod.happenings": ("dynod.app_figures", "dynod.core", "dynod.errors"),
    "dynod.webhook_sender": ("dynod.core",),
    "dynod.traffic_watch": ("dynod.operations", "dynod.core"),
    "dynod.metrics": ("dynod.app_figures", "dynod.core", "dynod.__version__"),
    "dynod.metrics_listener": (
        *("dynod.app_figures", "dynod.listeners", "dynod.metrics_token", "dynod.core", "dynod.errors"),
        "dynod.metrics_site",
    ),
    "dynod.metrics_site": ("dynod.app_figures", "dynod.metrics_token", "dynod.core"),
    "dynod.metrics_token": ("dynod.errors",),
    "dynod.routing": ("dynod.core", "dynod.errors", "dynod.stderr", "router"),
    "dynod.doctor": (
        "dynod.app_folder",
        "dynod.cli.check",
        "dynod.cli.terminal",
        "dynod.container_tools",
        "dynod.platform_api.client",
        "dynod.platform_api.finding",
        "dynod.process.sockets",
        "dynod.settings",
        "dynod.core",
        "dynod.errors",
    ),
    "dynod.cli": (
        "dynod.core",
        "dynod.errors",
        "dynod.app_folder",
        "dynod.listeners",
        "dynod.sealed_file",
        "dynod.platform_api.client",
        "dynod.platform_api.finding",
        "dynod.platform_api.git_folder",
        "dynod.platform_api.requests",
        "dynod.platform_api.schema",
        "dynod.__version__",
    ),
}

every_module = pytest.mark.parametrize("module", modules(), ids=str)


def loaded_by(code: str, *, path: Path = REPOSITORY) -> set[str]:
    """The modules that a fresh interpreter holds after `code`, run with `path` first on its path and no site added."""
    report = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(path)!r})\n{code}\n{report}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return set(json.loads(answer.stdout))


def test_router_can_be_imported_where_there_is_no_dynod(tmp_path: Path) -> None:
    """All of it, from a folder that holds nothing else; what is blocked cannot come from the installed dynod either."""
    shutil.copytree(REPOSITORY / "router", tmp_path / "router", ignore=shutil.ignore_patterns("__pycache__"))
    names = [m.name for m in modules() if m.name.split(".")[0] == "router"]
    block = "import sys; sys.modules['dynod'] = None"
    loaded = loaded_by(f"{block}\n" + "\n".join(f"import {name}" for name in names), path=tmp_path)
    assert set(names) <= loaded
    assert not {name for name in loaded if name.startswith("dynod.")}


def test_the_keeper_loads_the_standard_library_and_itself_alone() -> None:
    """What a keeper's process holds: no asyncio either, which it does not need and would carry for months."""
    before = loaded_by("pass")
    loaded = loaded_by("import dynod.keeper.main") - before
    foreign = {name for name in loaded if name.split(".")[0] not in STANDARD_LIBRARY}
    assert {name for name in foreign if name != "dynod" and not name.startswith("dynod.keeper")} == set()
    assert "asyncio" not in loaded


def test_a_mistake_is_told_before_the_daemons_parts_are_loaded() -> None:
    """The folder and the settings are read by what this loads, in a quarter of the time that all of it takes."""
    loaded = loaded_by("import dynod.core_run")
    assert {"dynod.up_plan", "dynod.serve_settings"} <= loaded
    assert not loaded & {"aiohttp", "router", "prometheus_client", "dynod.up", "dynod.serve", "dynod.operations"}


def test_an_app_in_a_folder_starts_without_what_it_may_never_need() -> None:
    """What `dynod up` loads before its first dyno: no API, no aiohttp, no store. Half of it all."""
    loaded = loaded_by("import dynod.core_run, dynod.up")
    assert {"dynod.operations", "dynod.routing", "dynod.process.supervisor"} <= loaded
    assert not loaded & {"aiohttp", "prometheus_client", "sqlite3", "cryptography", "yaml", "email.message"}
    assert {name for name in loaded if name.startswith(("dynod.platform_api", "dynod.store", "dynod.doctor"))} == set()
    assert not loaded & {"dynod.serve", "dynod.app_releases", "dynod.app_builds", "dynod.metrics", "dynod.doctor"}


def test_a_service_is_loaded_before_it_serves() -> None:
    """Its API included, as another version may be installed over it, and a rehearsal has to find what is missing."""
    loaded = loaded_by("import dynod.core_run, dynod.serve")
    assert {"dynod.platform_api.server", "dynod.store.store", "dynod.app_builds", "aiohttp"} <= loaded


def test_whoever_asks_over_tls_brings_its_own_trust() -> None:
    """aiohttp's own contexts know nobody in a core of `serve` (dynod/tls_trust)."""
    without = [
        f"{module}:{call.lineno}"
        for module in modules()
        for call in ast.walk(module.tree)
        if isinstance(call, ast.Call)
        for name, wanted in (("TCPConnector", "ssl"), ("ClientSession", "connector"))
        if ast.unparse(call.func) in {name, f"aiohttp.{name}"} and wanted not in {each.arg for each in call.keywords}
    ]
    assert without == []


def test_the_buildpacks_load_the_standard_library_and_themselves_alone() -> None:
    """They run as an app's user, perhaps in a container, and each of their scripts is a process of its own."""
    names = [m.name for m in modules() if m.name.startswith("dynod.builds.packs")]
    loaded = loaded_by("\n".join(f"import {name}" for name in names)) - loaded_by("pass")
    foreign = {name for name in loaded if name.split(".")[0] not in STANDARD_LIBRARY}
    assert {n for n in foreign if not n.startswith("dynod.builds.packs")} == {"dynod", "dynod.builds", "dynod.errors"}
    assert "asyncio" not in loaded


@pytest.mark.parametrize("module", [m for m in modules() if m.name.startswith("dynod.keeper")], ids=str)
def test_a_keeper_module_names_only_the_standard_library_and_the_keeper(module: Module) -> None:
    """As written, imports inside functions included, which no fresh interpreter shows."""
    allowed = ("dynod.keeper.", "dynod.__version__")
    foreign = [name for name in module.imports if name.split(".")[0] not in STANDARD_LIBRARY]
    assert [name for name in foreign if not name.startswith(allowed)] == []


def test_looking_at_argv_loads_neither_keeper_nor_command_line() -> None:
    loaded = loaded_by("import dynod.__main__")
    assert not {name for name in loaded if name.startswith(("dynod.keeper", "dynod.cli", "click", "asyncio"))}


@pytest.mark.parametrize(("part", "allowed"), MAY_IMPORT.items(), ids=MAY_IMPORT)
def test_a_part_imports_only_what_it_may(part: str, allowed: tuple[str, ...]) -> None:
    def is_in(name: str, packages: tuple[str, ...]) -> bool:
        return any(name == package or name.startswith(f"{package}.") for package in packages)

    members = [module for module in modules() if is_in(module.name, (part,))]
    assert members, f"there is no {part} any more"
    foreign = [
        f"{module} imports {name}"
        for module in members
        for name in sorted(module.imports)
        if is_in(name, PACKAGES) and not is_in(name, (part, *allowed))
    ]
    assert foreign == []


@every_module
def test_nobody_imports_what_puts_everything_together(module: Module) -> None:
    """The daemon is exec'ed by the keeper; the composition root knows all, and only the daemon knows it."""
    assert not [name for name in module.imports if name == "dynod.daemon" or name.startswith("dynod.daemon.")]
    if module.name != "dynod.daemon":
        assert not [name for name in module.imports if name == "dynod.core_run" or name.startswith("dynod.core_run.")]
    if module.name != "dynod.core_run":
        assert not [name for name in module.imports if name == "dynod.up" or name.startswith("dynod.up.")]


@every_module
def test_only_routing_and_the_composition_root_import_router(module: Module) -> None:
    if module.name.startswith("dynod") and module.name not in {"dynod.routing", "dynod.core_run", "dynod.up"}:
        assert not [name for name in module.imports if name.split(".")[0] == "router"]


@every_module
def test_imports_are_absolute(module: Module) -> None:
    assert not [name for name in module.imports if name.startswith(".")]


@every_module
def test_a_module_is_named_for_one_idea(module: Module) -> None:
    last = module.name.rpartition(".")[2]
    assert last not in VAGUE, "name the idea, or put the function beside its one caller"
    assert last not in STANDARD_LIBRARY - {"__main__"}, "a module of the standard library has this name"


@every_module
def test_every_module_says_what_it_is(module: Module) -> None:
    if module.tree.body:  # an empty __init__.py says nothing, and does nothing
        assert ast.get_docstring(module.tree), "a module docstring: what it is, where in the flow, what it leaves out"


def test_every_package_in_the_tree_is_listed_in_pyproject() -> None:
    """Packages are listed one by one, so that nothing gets into the wheel by accident; nor out of it."""
    listed = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("__init__.py")]
    assert sorted(listed) == sorted(".".join(path.relative_to(REPOSITORY).parent.parts) for path in inits)
    homeless = [m.name for m in modules() if not (m.path.parent / "__init__.py").is_file()]
    assert homeless == [], "folders with modules and no __init__.py"


@pytest.mark.parametrize("folder", ["config", "systemd"])
def test_data_folders_hold_no_package_of_ours(folder: str) -> None:
    assert not (REPOSITORY / folder / "__init__.py").exists()
