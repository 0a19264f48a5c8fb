"""Which buildpacks a build goes by. Pure.

As on Heroku (heroku-semantics 9.3): the app's own list, else the config var BUILDPACK_URL, else app.json's on the first
deploy, else `.buildpacks` as heroku-buildpack-multi has it, else the first of the built-in ones that wants the source.
What was detected, or was app.json's, is remembered as the app's list from then on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from dynod.core.buildpack import read_buildpacks

BUILDPACK_URL: Final = ("BUILDPACK_URL", "LANGUAGE_PACK_URL")  # the second is the name that it had before 2012
BUILDPACKS_FILE: Final = ".buildpacks"
PROCFILE_PACK: Final = "heroku/procfile"  # what is built already: says nothing about the app, and is not remembered


class Origin(Enum):
    """Who has said which buildpacks."""

    LIST = "the app's list"
    CONFIG = "BUILDPACK_URL"
    MANIFEST = "app.json"
    FILE = ".buildpacks"
    DETECTED = "detected"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """`buildpacks` in their order; with DETECTED candidates, of which the first that wants the source is taken."""

    origin: Origin
    buildpacks: tuple[str, ...]


def plan_build(
    *,
    listed: Sequence[str],
    config: Mapping[str, str],
    manifest: Sequence[str],
    file: str,
    is_first: bool,
    built_in: Sequence[str],
) -> BuildPlan:
    """`manifest`: app.json's; `file`: the text of `.buildpacks`; `built_in`: in the order of detection.

    Raises BuildpackRefusedError for what is no buildpack.
    """
    if listed:
        return BuildPlan(origin=Origin.LIST, buildpacks=tuple(listed))
    for name in BUILDPACK_URL:
        if config.get(name, "").strip():
            return BuildPlan(origin=Origin.CONFIG, buildpacks=read_buildpacks([config[name]]))
    if is_first and manifest:
        return BuildPlan(origin=Origin.MANIFEST, buildpacks=read_buildpacks(manifest))
    lines = [line.strip() for line in file.splitlines()]
    named = [line for line in lines if line and not line.startswith("#")]
    if named:
        return BuildPlan(origin=Origin.FILE, buildpacks=read_buildpacks(named))
    return BuildPlan(origin=Origin.DETECTED, buildpacks=tuple(built_in))


def remembered(origin: Origin, used: Sequence[str]) -> tuple[str, ...]:
    """What becomes the app's list once the build has succeeded; none: it stays as it is."""
    if origin is Origin.MANIFEST or (origin is Origin.DETECTED and PROCFILE_PACK not in used):
        return tuple(used)
    return ()
