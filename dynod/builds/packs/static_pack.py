"""heroku-community/static: a folder of files, served by a small program that goes into the slug with them.

What is served, and how, says static.json in the words of Heroku's buildpack for static sites; without one it is the
top folder, for an index.html that lies there. Nothing is built: a site that has to be gets heroku/nodejs before this.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.workspace import Workspace

SERVER: Final = ".heroku/static/server.py"
KNOWN: Final = {"root", "clean_urls", "routes", "redirects", "error_page", "headers", "https_only"}
DEFAULT_ROOT: Final = "public_html"  # of a static.json that names none


def compile_app(workspace: Workspace) -> None:
    """Raises PackError for a static.json that cannot be served by."""
    settings = _settings(workspace)
    root = workspace.build / str(settings["root"])
    if not root.is_dir() or not root.resolve().is_relative_to(workspace.build):
        raise PackError(f'static.json: "root" is {settings["root"]}, and there is no such folder in the app.')
    if workspace.program("python3") is None:
        raise PackError("The files are served by a Python program, and this machine has no python3 on PATH.")
    target = workspace.build / SERVER
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("static_server.py"), target)
    (target.parent / "settings.json").write_text(json.dumps(settings, sort_keys=True))
    console.step(f"Serving the files of {settings['root']}")
    for name in sorted(set(_declared(workspace)) - KNOWN):
        console.detail(f'static.json: "{name}" means nothing here, and is passed over')


def process_types(_workspace: Workspace) -> Mapping[str, str]:
    return {"web": f"python3 {SERVER}"}


def _settings(workspace: Workspace) -> dict[str, object]:
    declared = _declared(workspace)
    wanted: dict[str, type | tuple[type, ...]] = {
        "root": str,
        "clean_urls": bool,
        "https_only": bool,
        "error_page": str,
    }
    wanted |= {"routes": dict, "redirects": dict, "headers": dict}
    for name, kind in wanted.items():
        if name in declared and not isinstance(declared[name], kind):
            raise PackError(f'static.json: "{name}" has to be {getattr(kind, "__name__", kind)}.')
    root = declared.get("root", DEFAULT_ROOT if "static.json" in workspace.names else ".")
    return {name: declared[name] for name in sorted(KNOWN & set(declared))} | {"root": str(root).strip("/") or "."}


def _declared(workspace: Workspace) -> dict[str, object]:
    try:
        declared = json.loads(workspace.read("static.json") or "{}")
    except ValueError as error:
        raise PackError(f"static.json is no JSON: {error}.") from error
    if not isinstance(declared, dict):
        raise PackError("static.json has to be an object.")
    return declared
