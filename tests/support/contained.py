"""`dynod serve` with containers, and whether this machine makes any.

What dynos have to see besides the system: the toys, and the Python that runs them.
"""

import contextlib
import functools
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dynod.container_tools import find_tools
from dynod.core.container import User
from dynod.keeper import landlock
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


@contextlib.contextmanager
def abstract_socket() -> Iterator[str | None]:
    """Somebody who listens on a socket without a file, as buses do; None where the kernel cannot keep dynos from it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # the kernel chooses a name
        listener.listen()
        yield listener.getsockname().decode() if landlock.has_scopes() else None


def visible() -> list[str]:
    """For the settings: where this Python and the toys are."""
    return sorted({str(REPOSITORY), sys.prefix, sys.base_prefix})


def contained(state: Path, *arguments: str, env: Mapping[str, str] | None = None, settings: str = "") -> Serve:
    """As `Serve`. `settings`: lines of [container]."""
    toml = f"[container]\nvisible = {visible()}\n{settings}"
    return Serve(state, *arguments, env=env, toml=toml, isolation="container")
