"""The wheel: built as pip builds it, compared with the tree, installed where nothing else is, and run."""

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from dynod import __version__
from support.source_tree import PACKAGES, REPOSITORY, modules, written_files

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]  # ours: no environment below needs one of its own
BUILD_S = 240  # builds in an environment of its own and installs every dependency: minutes on a slow day


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because a build writes into its source tree."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, source / name)
    for optional in ("setup.py", "MANIFEST.in"):
        if (REPOSITORY / optional).is_file():
            shutil.copy(REPOSITORY / optional, source / optional)
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(REPOSITORY / package, source / package, ignore=ignored)
    shutil.copytree(REPOSITORY / "systemd", source / "systemd")
    out = tmp_path_factory.mktemp("wheel")
    run([*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(source)])
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh virtual environment with the wheel and what it depends on, and nothing for tests."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, symlinks=True)
    run(pip(home / "bin", "install", "--quiet", "--no-compile", str(wheel)))  # compiling is half of the work
    return home / "bin"


@pytest.mark.timeout(BUILD_S)
def test_the_wheel_holds_both_packages_whole_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    compiled = {name for name in held if name.endswith(".so")}  # optional, and made by the build
    units = {name for name in held if ".data/data/share/dynod/systemd/" in name}  # what systemd:install writes
    wanted = {
        str(path.relative_to(REPOSITORY)) for path in written_files() if path.parts[len(REPOSITORY.parts)] == "systemd"
    }
    assert {f"systemd/{name.partition('/systemd/')[2]}" for name in units} == wanted - {"systemd/README.md"}
    sources = {
        str(path.relative_to(REPOSITORY))
        for path in written_files()
        if path.relative_to(REPOSITORY).parts[0] in PACKAGES and path.suffix != ".c"
    }
    assert held - compiled - units == sources


@pytest.mark.timeout(BUILD_S)
def test_the_wheel_promises_types_and_its_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert {"dynod/py.typed", "router/py.typed"} <= set(archive.namelist())
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        commands = archive.read(entry_points).decode()
    assert re.findall(r"^(\S+) = \w", commands, re.MULTILINE) == ["dynod", "dynod-router", "git-remote-dynod"]


@pytest.mark.timeout(BUILD_S)
def test_an_installed_dynod_says_its_version(installed: Path) -> None:
    assert run([str(installed / "dynod"), "--version"]).split()[-1] == __version__


@pytest.mark.timeout(BUILD_S)
def test_all_modules_import_with_the_declared_dependencies_alone(installed: Path, tmp_path: Path) -> None:
    """What a developer's environment has beyond them would hide a missing line in pyproject.toml."""
    code = "\n".join(f"import {module.name}" for module in modules())
    run([str(installed / "python"), "-I", "-W", "error", "-c", code], cwd=tmp_path)


@pytest.mark.timeout(BUILD_S)
def test_the_dependencies_agree(installed: Path) -> None:
    run(pip(installed, "check"))


def pip(folder: Path, *arguments: str) -> list[str]:
    """Our own pip on the environment with that bin folder."""
    return [*PIP, "--python", str(folder / "python"), *arguments]


def run(command: Sequence[str], *, cwd: Path | None = None) -> str:
    answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"{' '.join(command)}\n{answer.stdout}{answer.stderr}"
    return answer.stdout
