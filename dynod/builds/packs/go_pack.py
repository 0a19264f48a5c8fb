"""heroku/go: the programs of a module, built by the machine's Go into `bin`. Go's own caches last."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dynod.builds.packs import console
from dynod.builds.packs.core.go_request import GoRequest, check_go, default_process_types, go_version, read_go_mod
from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.workspace import Workspace

LEFT_BEHIND: Final = ".heroku/go-programs"  # their names, for `release`, which comes later and has no cache
MAIN: Final = '{{if eq .Name "main"}}{{.ImportPath}}{{end}}'


def compile_app(workspace: Workspace) -> None:
    """Raises PackError for what cannot be built, with what to do about it."""
    request = read_go_mod(workspace.read("go.mod") or "")
    go = workspace.program("go") or "go"
    environment = _environment(workspace)
    version = go_version(workspace.answer([go, "version"], environment) or "")
    check_go(request, version)
    console.step(f"Using Go {version} ({request.asked_by})")
    mains = _mains(workspace, request, go, environment)
    bin_folder = workspace.build / "bin"
    bin_folder.mkdir(exist_ok=True)
    console.step(f"Building {', '.join(mains)}")
    workspace.must(
        # Nothing of this machine in the programs, so that equal sources make equal slugs.
        [go, "build", "-tags", "heroku", "-trimpath", "-buildvcs=false", "-o", f"{bin_folder}/", *mains],
        environment,
        otherwise="go build failed; what it printed is above.",
    )
    (workspace.build / ".heroku").mkdir(exist_ok=True)
    (workspace.build / LEFT_BEHIND).write_text("\n".join(sorted({_program(main) for main in mains})) + "\n")
    workspace.write_profile("go.sh", 'export PATH="$HOME/bin:$PATH"\n')
    workspace.write_export(f'export PATH="{bin_folder}:{Path(go).parent}:$PATH"\n')


def process_types(workspace: Workspace) -> Mapping[str, str]:
    programs = (workspace.read(LEFT_BEHIND) or "").split()
    return default_process_types(programs, read_go_mod(workspace.read("go.mod") or "").module)


def _mains(workspace: Workspace, request: GoRequest, go: str, environment: Mapping[str, str]) -> list[str]:
    listed = workspace.answer([go, "list", "-tags", "heroku", "-f", MAIN, *request.packages], environment)
    if listed is None:
        workspace.run([go, "list", "-tags", "heroku", "-f", MAIN, *request.packages], environment)
        raise PackError("go list failed; what it printed is above. `go mod tidy` and a committed go.sum often help.")
    if not listed.split():
        raise PackError(f"There is no program (package main) in {' '.join(request.packages)}.")
    return listed.split()


def _environment(workspace: Workspace) -> dict[str, str]:
    """`GOTOOLCHAIN=local`: another version is never fetched and used unasked."""
    environment = workspace.environment(
        GOTOOLCHAIN="local",
        GOCACHE=workspace.cache / "go/build",
        GOMODCACHE=workspace.cache / "go/modules",
        GOPATH=workspace.cache / "go/path",
    )
    flags = environment.get("GOFLAGS", "")
    environment["GOFLAGS"] = f"{flags} -modcacherw".strip()  # a cache that can be removed by its owner
    return environment


def _program(package: str) -> str:
    parts = package.split("/")
    versioned = len(parts) > 1 and parts[-1].startswith("v") and parts[-1][1:].isdecimal()
    return parts[-2] if versioned else parts[-1]
