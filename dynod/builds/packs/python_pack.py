"""heroku/python: a virtual environment at `.heroku/python`, filled by pip, pipenv, poetry or uv from the app's files.

The interpreter is the machine's: it is copied into the environment (a slug may hold no link that leads out of it), its
standard library stays where it is, and the slug's manifest records which one it was. What was installed once is kept,
and used again as long as the files that ask for it, and the Python, are the same: then no package is fetched.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.python_packages import Manager, PackagePlan, environment_key, package_plan
from dynod.builds.packs.core.python_request import PythonRequest, choose_python, python_request
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.relocation import (
    activation_script,
    relocatable_finder,
    relocatable_path_file,
    relocatable_script,
    settled_config,
    settled_record,
)
from dynod.builds.packs.core.version import Version, read_version
from dynod.builds.packs.django_static import collect_static
from dynod.builds.packs.python_tools import PythonTools
from dynod.builds.packs.toolchains import Tool, pythons
from dynod.builds.packs.workspace import Workspace

HOME: Final = ".heroku/python"
AT_RUN_TIME: Final = "/app"  # what compiled files name as their source; nothing is looked up there
# What Heroku's sets for every Python app; an app's own config vars go before them.
PROFILE: Final = """\
export PATH="$HOME/.heroku/python/bin:$PATH"
export PYTHONUNBUFFERED="${PYTHONUNBUFFERED:-1}"
export PYTHONPATH="${PYTHONPATH:-$HOME}"
export LANG="${LANG:-C.UTF-8}"
export FORWARDED_ALLOW_IPS="${FORWARDED_ALLOW_IPS:-*}"
export GUNICORN_CMD_ARGS="${GUNICORN_CMD_ARGS:---access-logfile -}"
"""
# Settings of the tools that decide which packages one name means.
DECISIVE: Final = ("PIP_", "UV_", "POETRY_", "PIPENV_")


def compile_app(workspace: Workspace) -> None:
    """Raises PackError for what cannot be built, with what to do about it."""
    plan = package_plan(workspace.names, workspace.read)
    for file in plan.passed_over:
        console.detail(f"There is a {file} too; {plan.file} goes before it, and {file} is left alone.")
    there = pythons()
    python = _choose(workspace, there)
    settings = [f"{k}={v}" for k, v in workspace.config_vars.items() if k.startswith(DECISIVE)]
    key = environment_key(plan, workspace.read, python=f"{python.path} {python.version}", settings=settings)
    kept = workspace.cache / "python" / "environment"
    home = workspace.build / HOME
    if home.is_symlink() or home.exists():
        raise PackError(f"The source has a {HOME} of its own, where the build would put Python. Remove it.")
    if plan.fixed and _text(kept.with_name("key")) == key:
        console.step(f"Using what was installed before: {plan.file} and Python are the same")
        home.parent.mkdir(exist_ok=True)
        shutil.copytree(kept, home, symlinks=True)
    else:
        _install(workspace, plan, python, PythonTools(workspace=workspace, python=python, newest=_newest(there)))
        _keep(workspace, kept, key if plan.fixed else "")
    workspace.write_profile("python.sh", PROFILE)
    workspace.write_export(f'export PATH="{home}/bin:$PATH"\n')
    collect_static(workspace, home)


def process_types(_workspace: Workspace) -> Mapping[str, str]:
    """None: how a Python app is started cannot be told from its files, and Heroku does not either."""
    return {}


def _choose(workspace: Workspace, there: tuple[Tool, ...]) -> Tool:
    request = python_request(workspace.read)
    before = _text(workspace.cache / "python" / "version")
    tools = {tool.version: tool for tool in there}
    version = choose_python(request, list(tools), kept=read_version(before) if before else None)
    console.step(f"Using Python {version} ({_why(request, before, version)})")
    if request is None:
        console.detail(f"To stay with it, say so: echo {version.major}.{version.minor} > .python-version")
    (workspace.cache / "python").mkdir(parents=True, exist_ok=True)
    (workspace.cache / "python" / "version").write_text(str(version))
    return tools[version]


def _why(request: PythonRequest | None, before: str | None, version: Version) -> str:
    if request is not None:
        return f"{request.file} asks for {request.range.written}"
    return "as before: the app asks for none" if before == str(version) else "the app asks for none"


def _newest(there: tuple[Tool, ...]) -> Tool:
    return max(there, key=lambda tool: tool.version.order)


def _install(workspace: Workspace, plan: PackagePlan, python: Tool, tools: PythonTools) -> None:
    home = workspace.build / HOME
    workspace.must(
        [python.path, "-m", "venv", "--copies", "--without-pip", home],
        workspace.environment(),
        otherwise=f"Python {python.version} at {python.path} made no virtual environment.",
    )
    for link in home.glob("bin/python3*"):  # three copies of one program
        link.unlink()
        link.symlink_to("python")
    console.step(f"Installing from {plan.file} with {plan.manager.value}")
    match plan.manager:
        case Manager.PIP:
            tools.pip_install(home, plan.file)
        case Manager.PIPENV:
            tools.pipenv_install(home)
        case Manager.POETRY:
            tools.poetry_install(home)
        case Manager.UV:
            tools.uv_install(home)
    _relocate(workspace, home)
    site_packages = _site_packages(home)
    workspace.run(
        # Not by time stamps, which a slug does not keep; a file that is no Python of today is no error.
        [
            *(home / "bin/python", "-m", "compileall", "-qqf", "--invalidation-mode", "unchecked-hash"),
            *("-s", workspace.build, "-p", AT_RUN_TIME, site_packages),
        ],
        workspace.environment(PYTHONHASHSEED="0"),
        shown=lambda _line: False,
    )


def _site_packages(home: Path) -> Path:
    return next(home.glob("lib/python3*/site-packages"))


def _relocate(workspace: Workspace, home: Path) -> None:
    build, site_packages = str(workspace.build), _site_packages(home)
    config = home / "pyvenv.cfg"
    config.write_text(settled_config(config.read_text()))
    for file in sorted((home / "bin").iterdir()):
        if activation_script(file.name):
            file.unlink()
        elif file.is_file() and not file.is_symlink():
            changed = relocatable_script(file.read_bytes(), bin_folder=str(home / "bin"))
            if changed is not None:
                file.write_bytes(changed)
    for file in site_packages.glob("*.pth"):
        file.write_text(relocatable_path_file(file.read_text(), site_packages=str(site_packages), build_dir=build))
    for file in site_packages.glob("__editable___*_finder.py"):
        file.write_text(relocatable_finder(file.read_text(), site_packages=str(site_packages), build_dir=build))
    for file in site_packages.glob("*.dist-info/RECORD"):
        file.write_text(settled_record(file.read_text()))
    for file in site_packages.glob("*.dist-info/direct_url.json"):
        file.write_text(json.dumps(json.loads(file.read_text())).replace(build, AT_RUN_TIME))


def _keep(workspace: Workspace, kept: Path, key: str) -> None:
    """First without its key, so that a build which is cut short leaves nothing that passes for whole."""
    kept.with_name("key").unlink(missing_ok=True)
    shutil.rmtree(kept, ignore_errors=True)
    if key:
        shutil.copytree(workspace.build / HOME, kept, symlinks=True)
        kept.with_name("key").write_text(key)


def _text(file: Path) -> str | None:
    return file.read_text().strip() if file.is_file() else None
