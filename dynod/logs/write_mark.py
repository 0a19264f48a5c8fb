"""A byte that outlives the core: was it killed in the middle of writing to stdout, perhaps in the middle of a line?

Flow: stdout writer's thread sets and clears the **mark**; the next core, which gets it from the keeper, reads it.
Shared memory, since a message to the keeper for each write would cost more than the write. Knows nothing of lines.
"""

import mmap
import os
import tempfile
from typing import Final

BUSY: Final = 1
IDLE: Final = 0


class WriteMark:
    """Owns its descriptor, which is to be held by whoever outlives this process."""

    __slots__ = ("_memory", "fd")

    def __init__(self, fd: int | None = None) -> None:
        """`fd`: of the mark that an earlier core has left; None: a new one. Raises OSError."""
        self.fd = _anonymous_file() if fd is None else fd
        self._memory = mmap.mmap(self.fd, 1)

    @property
    def is_set(self) -> bool:
        """A write has begun and not ended."""
        return self._memory[0] == BUSY

    def set(self) -> None:
        """A write begins."""
        self._memory[0] = BUSY

    def clear(self) -> None:
        """All of it is written, to the end of a line."""
        self._memory[0] = IDLE

    def close(self) -> None:
        """Let go of it."""
        self._memory.close()
        os.close(self.fd)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("dynod-write-mark", os.MFD_CLOEXEC)
    else:  # macOS
        fd, path = tempfile.mkstemp(prefix="dynod-")
        os.unlink(path)  # noqa: PTH108 (a name that mkstemp gave)
    os.ftruncate(fd, 1)
    return fd
