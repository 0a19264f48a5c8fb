"""What the build runner starts: `python -m dynod.builds.packs NAME SCRIPT …`, with a buildpack's three scripts.

detect BUILD_DIR                       status 0 and what the app is called, or status 1
compile BUILD_DIR CACHE_DIR ENV_DIR    makes the app ready to run, in place
release BUILD_DIR                      YAML: the process types of an app that has no Procfile
list                                   the names, in the order of detection
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.catalogue import PACKS, Pack, find_pack, fits, not_built, release_yaml, shown_name
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.workspace import Workspace, open_workspace

USAGE: Final = 2
MODULES: Final[Mapping[str, str]] = {
    "heroku/python": "python_pack",
    "heroku/nodejs": "node_pack",
    "heroku/go": "go_pack",
    "heroku/ruby": "ruby_pack",
    "heroku/php": "php_pack",
    "heroku-community/static": "static_pack",
    "heroku-community/apt": "apt_pack",
    "heroku/procfile": "procfile_pack",
}


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    match arguments:
        case ["list"]:
            sys.stdout.write("\n".join(PACKS) + "\n")
            return 0
        case [name, ("detect" | "compile" | "release") as script, build, *more]:
            pack = find_pack(name)
            if pack is None:
                console.error(f"There is no built-in buildpack {name}. There are: {', '.join(PACKS)}.")
                return 1
            return _run(pack, script, build, more)
        case _:
            sys.stderr.write(f"{__doc__}")
            return USAGE


def _run(pack: Pack, script: str, build: str, more: Sequence[str]) -> int:
    try:
        workspace = open_workspace(build, *more[:2])
        if script == "detect":
            return _detect(pack, workspace)
        if not pack.built:
            console.error(not_built(pack))
            return 1
        module = import_module(f"dynod.builds.packs.{MODULES[pack.name]}")
        if script == "compile":
            compile_app: Callable[[Workspace], None] = module.compile_app
            compile_app(workspace)
        else:
            process_types: Callable[[Workspace], Mapping[str, str]] = module.process_types
            sys.stdout.write(release_yaml(process_types(workspace)))
    except PackError as refusal:
        console.error(str(refusal))
        return 1
    return 0


def _detect(pack: Pack, workspace: Workspace) -> int:
    if not fits(pack, workspace.names, workspace.read):
        sys.stdout.write(f"no: this is for an app with {' or '.join(pack.files)}\n")
        return 1
    sys.stdout.write(shown_name(pack, workspace.names, workspace.read) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
