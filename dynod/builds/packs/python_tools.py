"""pip, pipenv, poetry and uv, as heroku/python runs them. Those that the machine lacks are fetched once, and kept.

Each is in an environment of its own below CACHE_DIR, so that none of what it needs itself gets into the slug. Which
index they ask is the machine's configuration and the app's config vars (`PIP_INDEX_URL`, `UV_DEFAULT_INDEX`, …).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.toolchains import Tool
from dynod.builds.packs.workspace import Workspace

PINNED: Final = {"pipenv": "2026.10.3", "poetry": "2.5.1", "uv": "0.13.8"}
NOISE: Final = ("[notice]", "WARNING: Running pip as", "Cleaning up", "Courtesy Notice")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonTools:
    """The tools for one app's `python`; `newest` is the machine's newest, on which the tools themselves run."""

    workspace: Workspace
    python: Tool
    newest: Tool

    def pip_install(self, home: Path, file: str) -> None:
        what = ["--requirement", file] if file.endswith(".txt") else ["--editable", "."]
        self._pip(self.python, home, what, otherwise=f"pip could not install what {file} asks for.")

    def pipenv_install(self, home: Path) -> None:
        """`--deploy` refuses a Pipfile.lock that is older than its Pipfile."""
        environment = self._environment(home) | {"PIPENV_NOSPIN": "1", "PIPENV_YES": "1", "PIPENV_VERBOSITY": "-1"}
        cache = self.workspace.cache / "python/pipenv"
        self._must(
            [self._fetched("pipenv"), "install", "--deploy"],
            environment | {"PIPENV_CACHE_DIR": str(cache), "PIPENV_PYTHON": str(home / "bin/python")},
            otherwise="pipenv could not install what Pipfile.lock asks for.",
        )

    def poetry_install(self, home: Path) -> None:
        folder = self.workspace.cache / "python/poetry"
        environment = self._environment(home) | {"POETRY_NO_INTERACTION": "1", "POETRY_INSTALLER_PARALLEL": "true"}
        environment |= {"POETRY_CACHE_DIR": f"{folder}/cache", "POETRY_CONFIG_DIR": f"{folder}/config"}
        self._must(
            [self._fetched("poetry"), "sync", "--only", "main", "--no-ansi"],
            environment | {"POETRY_DATA_DIR": f"{folder}/data"},
            otherwise="poetry could not install what poetry.lock asks for.",
        )

    def uv_install(self, home: Path) -> None:
        environment = self._environment(home) | {"UV_PROJECT_ENVIRONMENT": str(home), "UV_LINK_MODE": "copy"}
        environment |= {"UV_CACHE_DIR": str(self.workspace.cache / "python/uv"), "UV_NO_PROGRESS": "1"}
        self._must(
            [self._fetched("uv"), "sync", "--locked", "--no-default-groups", "--no-editable"],
            environment | {"UV_PYTHON": str(home / "bin/python"), "UV_PYTHON_DOWNLOADS": "never"},
            otherwise="uv could not install what uv.lock asks for.",
        )

    def _environment(self, home: Path) -> dict[str, str]:
        """As in the activated environment, and with caches that last."""
        environment = self.workspace.environment(
            VIRTUAL_ENV=home,
            PIP_CACHE_DIR=self.workspace.cache / "python/pip",
            PIP_NO_INPUT="1",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            PIP_NO_WARN_SCRIPT_LOCATION="1",
            PIP_ROOT_USER_ACTION="ignore",
            PYTHONDONTWRITEBYTECODE="1",
        )
        environment.pop("PYTHONPATH", None)  # the app's, which the tools must not import from
        environment["PATH"] = f"{home / 'bin'}:{environment.get('PATH', '')}"
        return environment

    def _pip(self, python: Tool, home: Path, what: list[str], *, otherwise: str) -> None:
        """Run apart, and told which environment to fill."""
        self._must(
            [
                self._pip_of(python),
                "-m",
                "pip",
                "--python",
                home / "bin/python",
                "install",
                "--no-compile",
                "--progress-bar=off",
                *what,
            ],
            self._environment(home),
            otherwise=otherwise,
        )

    def _pip_of(self, python: Tool) -> Path:
        home = self.workspace.cache / "python" / f"pip-{python.version}"
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            self._must(
                [python.path, "-m", "venv", home],
                self.workspace.environment(),
                otherwise=f"Python {python.version} has no pip; on Debian: apt-get install python3-venv",
            )
            (home / "complete").touch()
        return home / "bin/python"

    def _fetched(self, name: str) -> Path:
        """The program, of the version that is tested here."""
        home = self.workspace.cache / "python" / f"{name}-{PINNED[name]}-{self.newest.version}"
        if not (home / "complete").exists():
            console.step(f"Fetching {name} {PINNED[name]}")
            shutil.rmtree(home, ignore_errors=True)
            self._must(
                [self.newest.path, "-m", "venv", "--without-pip", home],
                self.workspace.environment(),
                otherwise=f"There is no environment for {name}.",
            )
            wanted = [f"{name}=={PINNED[name]}"]
            self._pip(self.newest, home, [*wanted, "--quiet"], otherwise=f"{name} {PINNED[name]} could not be fetched.")
            (home / "complete").touch()
        return home / "bin" / name

    def _must(self, argv: list[str | Path], environment: dict[str, str], *, otherwise: str) -> None:
        status = self.workspace.run(
            argv, environment, shown=lambda line: bool(line.strip()) and not line.startswith(NOISE)
        )
        if status != 0:
            raise PackError(otherwise)
