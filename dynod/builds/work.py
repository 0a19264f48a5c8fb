"""The folder of one build: what it is told, where it works, what it leaves. Shared by whoever starts it and the runner.

    spec.json   what is to be built           env/          the config vars, a file each
    source.tgz  the source as it came         build_HEX/    BUILD_DIR
    packs/N/    the buildpacks                slug.tgz, result.json   what has become of it

The core writes the first three and reads the last two, which a buildpack may have written: no link is followed, nothing
larger than it may be is read, and every field is checked.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SPEC: Final = "spec.json"
SOURCE: Final = "source.tgz"
ENV: Final = "env"
RESULT: Final = "result.json"
SLUG: Final = "slug.tgz"
LARGEST_RESULT: Final = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSpec:
    """What is to be built. Paths are absolute, as the runner sees them."""

    build_id: str
    app: str
    work: str
    cache: str  # of the app: CACHE_DIR, and fetched buildpacks
    listed: tuple[str, ...]  # the app's own buildpacks
    config: Mapping[str, str]  # those config vars that choose a buildpack
    is_first: bool  # the app has never had code
    environment: Mapping[str, str]  # of every script
    most_packed: int  # bytes, of the slug
    most_unpacked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What has become of it. Without `ok`, why is in the output."""

    ok: bool
    description: str = ""  # the name that the last buildpack gave the app: Python
    origin: str = ""  # who has said which buildpacks
    buildpacks: tuple[str, ...] = ()
    process_types: Mapping[str, str] | None = None  # Procfile's and defaults


def write_spec(work: Path, spec: BuildSpec) -> None:
    """Into the folder of the build, which is there. Raises OSError."""
    (work / SPEC).write_text(json.dumps(asdict(spec)))


def read_spec(path: Path) -> BuildSpec:
    """What `write_spec` has written."""
    document = json.loads(path.read_text())
    return BuildSpec(**{**document, "listed": tuple(document["listed"])})


def write_result(work: Path, result: BuildResult) -> None:
    """The last thing that a runner does. Raises OSError."""
    partial = work / f"{RESULT}.partial"
    partial.write_text(json.dumps(asdict(result)))
    partial.rename(work / RESULT)


def read_result(work: Path) -> BuildResult | None:
    """None where there is none that can be read."""
    try:
        with open(_regular(work / RESULT), "rb") as file:
            document = json.loads(file.read(LARGEST_RESULT))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("ok") is not True:
        return BuildResult(ok=False) if isinstance(document, dict) else None
    description, origin = document.get("description"), document.get("origin")
    buildpacks, types = document.get("buildpacks"), document.get("process_types")
    if not (isinstance(description, str) and isinstance(origin, str)):
        return None
    if not isinstance(buildpacks, list) or not all(isinstance(each, str) for each in buildpacks):
        return None
    if not isinstance(types, dict) or not all(isinstance(each, str) for each in types.values()):
        return None
    return BuildResult(
        ok=True, description=description, origin=origin, buildpacks=tuple(buildpacks), process_types=types
    )


def open_slug(work: Path) -> int:
    """A descriptor of the archive that the runner has made; the caller's to close. Raises OSError."""
    return _regular(work / SLUG)


def _regular(path: Path) -> int:
    """A regular file and nothing else: a link would be followed with dynod's own rights, a pipe would hang."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is no file")
    return descriptor
