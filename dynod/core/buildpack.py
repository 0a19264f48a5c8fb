"""Buildpacks of an app: how one is named, and how a list of them is read and changed. Pure; nothing is fetched.

Heroku's registry names (`heroku/python`), and URLs of repositories and archives, which may name a branch after a `#`.
"""

import re
from collections.abc import Sequence
from typing import Final

from dynod.core.fault import quoted
from dynod.errors import DynodError

MOST_BUILDPACKS: Final = 20
LONGEST: Final = 1000  # characters
REGISTRY_PREFIXES: Final = (
    "urn:buildpack:",
    "https://buildpack-registry.s3.amazonaws.com/buildpacks/",  # what Heroku's command line makes of a name
)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9_.-]*", re.ASCII)
_URL: Final = re.compile(r"(?:https?|git|ssh|file)://[!-~]+|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[!-~]+", re.ASCII)


class BuildpackRefusedError(DynodError):
    """What is no buildpack, or a list of them that cannot be."""

    code = "invalid_params"


def buildpack_reference(written: str) -> str:
    """A buildpack as it is kept: a registry's name, or a URL. Raises BuildpackRefusedError."""
    text = written.strip()
    for prefix in REGISTRY_PREFIXES:
        if text.startswith(prefix):
            text = text.removeprefix(prefix).removesuffix(".tgz")
    if len(text) > LONGEST or not (_NAME.fullmatch(text) or _URL.fullmatch(text)):
        raise BuildpackRefusedError(
            f"{quoted(written)} is no buildpack: expected a name such as heroku/python, or the URL of a repository or "
            "of a .tgz."
        )
    return text


def read_buildpacks(written: Sequence[str]) -> tuple[str, ...]:
    """A whole list, in its order. Raises BuildpackRefusedError."""
    read = tuple(buildpack_reference(each) for each in written)
    if len(read) > MOST_BUILDPACKS:
        raise BuildpackRefusedError(f"An app can have {MOST_BUILDPACKS} buildpacks, found {len(read)}.")
    twice = next((each for index, each in enumerate(read) if each in read[:index]), None)
    if twice is not None:
        raise BuildpackRefusedError(f"The buildpack {twice} is there already.")
    return read
