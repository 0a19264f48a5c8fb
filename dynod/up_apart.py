"""How `dynod up` keeps dynos apart: not at all, since debuggers work then; with `--strict` as `dynod serve` would.

What dynos write lies in a folder of the user's state while they run, one for each app's folder. For the composition
root. May import serve_containers, settings, process, core.
"""

import contextlib
import hashlib
import os
import shutil
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

from dynod.core.container import Container, User
from dynod.core.isolation import Abilities, Isolation, choose
from dynod.process.container import DYNOS, Encloses, sweep
from dynod.settings import Container as Asked
from dynod.settings import user_state_folder


class UpApart:
    """Of one `dynod up`, anew by each core. `close` leaves nothing of it."""

    def __init__(self, folder: str, *, containers: Encloses | None, user: User | None, lacks: tuple[str, ...]) -> None:
        self.containers = containers  # None: dynos are plain children
        self.lacks = lacks  # sentences for the start and the status
        self._folder = folder
        self._user = user
        self._state: Path | None = None

    @classmethod
    def loosely(cls, folder: str) -> Self:
        """Everything is as a developer has it."""
        return cls(folder, containers=None, user=None, lacks=())

    @classmethod
    def strictly(cls, folder: str, asked: Asked, environ: Mapping[str, str]) -> Self:
        """As far as the machine gives it; blocks for some milliseconds. Raises SettingsError, OSError."""
        if asked.isolation == Isolation.NONE:
            return cls(
                folder, containers=None, user=None, lacks=choose(asked.isolation, Abilities(container=None)).lacks
            )
        from dynod.serve_containers import keep_apart  # noqa: PLC0415 (6 ms of a start, which few ask for)

        key = hashlib.sha256(os.fsencode(folder))
        state = Path(user_state_folder(environ), "up", key.hexdigest()[:16])
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = keep_apart(asked, state, settings=None)
        # Not a number that an app of `dynod serve` has got: those are given from the first one on.
        half = asked.uids // 2
        number = half + zlib.crc32(key.digest()) % max(1, asked.uids - half)
        self = cls(folder, containers=kept.containers, user=kept.user and kept.user(number), lacks=kept.lacks)
        self._state = state
        return self

    @property
    def container(self) -> Container | None:
        """What every dyno is put in."""
        return None if self.containers is None else Container(code=self._folder, user=self._user)

    def sweep(self, living: Collection[str]) -> None:
        """Remove what dynos left that are no more. Blocks."""
        if self._state is not None:
            sweep(self._state / DYNOS, living)

    def close(self) -> None:
        """Blocks. No dyno runs any more."""
        if self.containers is not None:
            self.containers.close()
        if self._state is not None:
            self.sweep(())
            shutil.rmtree(self._state, ignore_errors=True)
            with contextlib.suppress(OSError):
                self._state.parent.rmdir()
