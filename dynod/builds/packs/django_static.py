"""Django's static files, collected at build time as Heroku does it: unless DISABLE_COLLECTSTATIC is set."""

import os
from pathlib import Path
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.workspace import Workspace

DEEPEST: Final = 3  # folders, the last of which may hold manage.py; Heroku's
PASSED_OVER: Final = ("Post-processed", "Copying", "Linking", "Pretending")  # a line for each file: noise in a build


def collect_static(workspace: Workspace, home: Path) -> None:
    """Nothing for an app without Django. Raises PackError where Django's command fails."""
    if not any(home.glob("lib/python3*/site-packages/django/__init__.py")):
        return
    if workspace.config_vars.get("DISABLE_COLLECTSTATIC"):
        console.step("Not collecting Django's static files: DISABLE_COLLECTSTATIC is set")
        return
    manage = _manage_file(workspace.build)
    if manage is None:
        console.step("Not collecting Django's static files: there is no manage.py")
        return
    environment = workspace.environment(PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
    environment["PATH"] = f"{home / 'bin'}:{environment.get('PATH', '')}"
    environment.setdefault("PYTHONPATH", str(workspace.build))
    python = home / "bin/python"
    if workspace.answer([python, manage, "help", "collectstatic"], environment) is None and _unknown(
        workspace, python, manage, environment
    ):
        console.step("Not collecting static files: Django's staticfiles is not among INSTALLED_APPS")
        return
    command = f"python {manage} collectstatic --noinput"
    console.step(f"$ {command}")
    status = workspace.run(
        [python, manage, "collectstatic", "--noinput", "--traceback"],
        environment,
        shown=lambda line: bool(line.strip()) and not line.startswith(PASSED_OVER),
    )
    if status != 0:
        raise PackError(
            f"{command} failed; what it printed is above.\n"
            "Mend the app's settings (STATIC_ROOT has to be set, and the files that templates name be there);\n"
            "a config var that it needs has to be set before the build. Or switch this off:\n"
            "  dynod config:set DISABLE_COLLECTSTATIC=1"
        )


def _unknown(workspace: Workspace, python: Path, manage: str, environment: dict[str, str]) -> bool:
    """Whether Django starts and does not know the command: else its failure has to be seen."""
    commands = workspace.answer([python, manage, "help", "--commands"], environment)
    return commands is not None and "collectstatic" not in commands.split()


def _manage_file(build: Path) -> str | None:
    """The nearest to the top, then the first by name."""
    found: list[tuple[int, str]] = []
    for folder, inner, files in os.walk(build):
        depth = len(Path(folder).relative_to(build).parts)
        inner[:] = [name for name in inner if not name.startswith(".") and name != "node_modules"]
        if depth + 1 >= DEEPEST:
            inner.clear()
        if "manage.py" in files:
            found.append((depth, str(Path(folder, "manage.py").relative_to(build))))
    return min(found)[1] if found else None
