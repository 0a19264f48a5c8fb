"""What some tests need beyond Python, and `make test` installs: programs, and npm packages.

Where they are missing a developer's run skips, saying so; CI fails, because a check that silently stops is no check.
"""

import os
import shutil
from pathlib import Path

import pytest

from support.source_tree import REPOSITORY


def found(name: str) -> str | None:
    """The path of a program such as "curl", if it is there; daemons are in sbin, which is not on everybody's PATH.

    What the machine lacks and a package would start or enable is unpacked into a folder by `make test-tools`.
    """
    unpacked = REPOSITORY / "tests" / ".peers" / "usr"
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:{unpacked}/sbin:{unpacked}/bin")


def program(name: str) -> str:
    """The path of a program that has to be there."""
    return found(name) or missing(f"{name} (make test-tools)")


def node_folder(path: str) -> Path:
    """A folder of this repository whose npm packages are installed, such as "tests/toys/node"."""
    program("node")
    folder = REPOSITORY / path
    if not (folder / "node_modules").is_dir():
        missing(f"{path}/node_modules (make test-tools)")
    return folder


def django_folder() -> Path:
    """The Django example, whose own virtual environment is made by `make demo` and `make test`."""
    folder = REPOSITORY / "config/examples/django"
    if not (folder / ".venv/bin/gunicorn").is_file():
        missing("config/examples/django/.venv (make config/examples/django/.venv/.installed)")
    return folder


def missing(what: str) -> str:
    if os.environ.get("CI"):
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")
