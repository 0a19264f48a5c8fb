"""`dynod serve` with containers, and whether this machine makes any.

What dynos have to see besides the system: the toys, and the Python that runs them.
"""

import functools
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from dynod.container_tools import find_tools
from dynod.core.container import User
from support.serve import Serve
from support.source_tree import REPOSITORY


@functools.cache
def lack() -> str | None:
    """Why this machine makes no containers."""
    with tempfile.TemporaryDirectory() as folder:
        user = User(uid=1_900_000_000, gid=1_900_000_000) if os.geteuid() == 0 else None
        return find_tools(Path(folder), user=user).abilities.container


def needs_containers() -> None:
    """Skip the test where there are none."""
    if (why := lack()) is not None:
        pytest.skip(f"no containers here: {why}")


def visible() -> list[str]:
    """For the settings: where this Python and the toys are."""
    return sorted({str(REPOSITORY), sys.prefix, sys.base_prefix})


def contained(state: Path, *arguments: str, env: Mapping[str, str] | None = None, settings: str = "") -> Serve:
    """As `Serve`. `settings`: lines of [container]."""
    toml = f"[container]\nvisible = {visible()}\n{settings}"
    return Serve(state, *arguments, env=env, toml=toml, isolation="container")
