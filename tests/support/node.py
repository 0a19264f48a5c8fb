"""What the tests of Node stacks stand on: npm packages that `make test` has installed.

Where they are missing a developer's run skips, saying so; CI fails, because a check that silently stops is no check.
"""

import os
import shutil
from pathlib import Path

import pytest

from support.source_tree import REPOSITORY


def node_folder(path: str) -> Path:
    """A folder of this repository whose node_modules are installed, such as "tests/toys/node"."""
    folder = REPOSITORY / path
    missing = []
    if shutil.which("node") is None:
        missing.append("node (Debian: apt-get install nodejs npm)")
    if not (folder / "node_modules").is_dir():
        missing.append(f"{path}/node_modules (make node-tools)")
    if missing:
        reason = f"missing: {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
