"""What a go.mod asks for: which Go, which packages to build. Pure.

`// +heroku goVersion go1.22` and `// +heroku install ./cmd/...` are Heroku's comments in it; `go` is the least version
that will do, as Go itself has it since 1.21, and `toolchain` only a suggestion.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from dynod.builds.packs.core.refused import PackError
from dynod.builds.packs.core.version import Bound, Version, VersionRange, after, between, from_parts, read_version

_DIRECTIVE: Final = re.compile(r"^\s*(go|module)\s+(\S+)", re.MULTILINE)
_HEROKU: Final = re.compile(r"^\s*//\s*\+heroku\s+(goVersion|install)\s+(.+?)\s*$", re.MULTILINE)
_GO: Final = re.compile(r"(?:go)?(\d+)(?:\.(\d+))?(?:\.(\d+))?((?:rc|beta)\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoRequest:
    """`versions`: those that will do, None for any; `packages` is what `go install` is given."""

    module: str
    versions: VersionRange | None
    asked_by: str
    packages: tuple[str, ...]


def read_go_mod(text: str) -> GoRequest:
    """Raises PackError for a go.mod without a module, or with a version that is none."""
    directives = dict(_DIRECTIVE.findall(text))
    heroku = dict(_HEROKU.findall(text))
    if "module" not in directives:
        raise PackError("go.mod names no module: it begins with a line such as: module example.com/app")
    packages = tuple(heroku.get("install", "./...").split())
    if any(package.startswith("-") for package in packages):
        raise PackError("go.mod: // +heroku install takes packages, such as ./cmd/web")
    versions: VersionRange | None = None
    asked_by = "go.mod asks for none"
    if "goVersion" in heroku:
        versions = _line_of(heroku["goVersion"])
        asked_by = f"go.mod asks for {versions.written}"
    elif "go" in directives:
        least = _parse(directives["go"])
        bound = Bound(operator=">=", version=from_parts(least))
        versions = VersionRange(written=f"{directives['go']} or newer", alternatives=((bound,),))
        asked_by = f"go.mod asks for {versions.written}"
    return GoRequest(module=directives["module"], versions=versions, asked_by=asked_by, packages=packages)


def check_go(request: GoRequest, there: Version | None) -> None:
    """Raises PackError where the machine's Go is not the one, or there is none."""
    wanted = f", and go.mod asks for {request.versions.written}" if request.versions else ""
    if there is None:
        raise PackError(f"This machine has no Go{wanted}.\nInstall it; on Debian: apt-get install golang-go")
    if request.versions is not None and not request.versions.allows(there):
        raise PackError(
            f"This machine has Go {there}{wanted}.\n"
            "Install one that will do (go.dev/dl, or your distribution's backports: golang-go) and put it first on\n"
            "the build's PATH; or change go.mod."
        )


def go_version(output: str) -> Version | None:
    """Of what `go version` prints: `go version go1.19.8 linux/amd64`."""
    match = re.search(r"\bgo(\d+(?:\.\d+){0,2}(?:(?:rc|beta)\d+)?)\b", output)
    return read_version(match[1]) if match else None


def default_process_types(programs: Collection[str], module: str) -> Mapping[str, str]:
    """The program that is named as the module, or the only one; Heroku's has it on PATH by its name too."""
    last = re.sub(r"/v\d+$", "", module).rpartition("/")[2]
    name = last if last in programs else next(iter(programs)) if len(programs) == 1 else None
    return {"web": f"bin/{name}"} if name else {}


def _line_of(text: str) -> VersionRange:
    """`go1.22` is any 1.22, `go1.22.3` that one."""
    parts = _parse(text)
    return VersionRange(written=text.strip(), alternatives=(between(from_parts(parts), after(parts)),))


def _parse(text: str) -> tuple[int, ...]:
    match = _GO.fullmatch(text.strip())
    if match is None:
        raise PackError(f'go.mod: "{text.strip()}" is no version of Go: expected one such as 1.22 or 1.22.3.')
    return tuple(int(part) for part in match.group(1, 2, 3) if part is not None)
