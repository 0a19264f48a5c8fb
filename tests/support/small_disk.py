"""A `dynod serve` whose state is on a file system of a few megabytes, which a test can fill."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from support.serve import Serve

SIZE_MB: Final = 4
PAGE: Final = 4096


def may_mount() -> None:
    """Skips the test where this user may not."""
    script = "mount -t tmpfs none /mnt"
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, check=False).returncode
    ):
        pytest.skip("NOT TESTED: this user may mount no small file system (unshare --mount)")


class OnSmallDisk(Serve):
    """Its state is on a file system of its own, which only its processes see."""

    def __init__(
        self, state: Path, *, toml: str = "", size_mb: int = SIZE_MB, env: Mapping[str, str] | None = None
    ) -> None:
        """`state` is made, and mounted over."""
        state.mkdir(mode=0o700)
        super().__init__(state, toml=toml, env=env)
        self._mounted = state
        mount = f'mount -t tmpfs -o size={size_mb}m,mode=700 none "$1" && shift && exec "$@"'
        self._command = ["unshare", "--mount", "sh", "-c", mount, "sh", str(state), *self._command]

    def wait_until_ready(self) -> None:
        super().wait_until_ready()
        self.state = Path(f"/proc/{self.pid}/root{self._mounted}")

    def fill(self) -> Path:
        """Until not one more page fits; returns what to remove."""
        filler = self.state / "filler"
        file = os.open(filler, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            while True:
                os.write(file, bytes(PAGE))
        except OSError:
            return filler
        finally:
            os.close(file)
