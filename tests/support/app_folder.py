"""App folders for tests: a Procfile, a .env, other files; and the toys' command lines."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

TOYS = Path(__file__).resolve().parent.parent / "toys"


def toy(name: str, *arguments: object) -> str:
    """The Procfile command that runs `tests/toys/NAME.py` with this test's own Python (`python3` may be a wrapper)."""
    script = TOYS / f"{name}.py"
    assert script.is_file(), f"no toy named {name}"
    return shlex.join([sys.executable, str(script), *map(str, arguments)])


def python(code: str) -> str:
    """The Procfile command that runs a line of Python."""
    return shlex.join([sys.executable, "-c", code])


def app_folder(
    parent: Path,
    *,
    procfile: str | Mapping[str, str] | None = None,
    env: str | Mapping[str, str] | None = None,
    app_json: Mapping[str, object] | None = None,
    files: Mapping[str, str | bytes] | None = None,
    name: str = "app",
) -> Path:
    """Makes the folder `parent/name` and what was asked for in it, nothing else; returns its path.

    A mapping as `procfile` is process type to command, as `env` is name to value (both written plainly);
    a string is written as it is, faults included.
    """
    folder = parent / name
    folder.mkdir()
    if isinstance(procfile, Mapping):
        procfile = "".join(f"{kind}: {command}\n" for kind, command in procfile.items())
    if isinstance(env, Mapping):
        env = "".join(f"{variable}={shlex.quote(value)}\n" for variable, value in env.items())
    contents: dict[str, str | bytes] = dict(files or {})
    if procfile is not None:
        contents["Procfile"] = procfile
    if env is not None:
        contents[".env"] = env
    if app_json is not None:
        contents["app.json"] = json.dumps(app_json, indent=2)
    for path, content in contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder
