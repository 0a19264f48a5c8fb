"""One `dynod up` a folder: the lock, the control socket, and the mark by which other verbs find both.

The socket lies in the user's runtime folder (unix paths end at 108 bytes); `.dynod/up.json` in the app's folder names
it. The lock is a flock(2) on the app's folder itself: it ends with the last process that holds it, so a dynod that was
killed leaves nothing that refuses the next one, and it holds between users and sessions, whose runtime folders differ.
Where the app's folder cannot be written to, as in a container that has it read-only, the mark is beside the socket.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from dynod.errors import AppFolderError

MARK_FOLDER = ".dynod"
MARK = "up.json"
BACKLOG = 128
LONGEST_SOCKET_PATH = 103  # bytes: sockaddr_un of macOS; Linux has four more
LONGEST_NAME = "up-0123456789abcdef.sock"


def runtime_folder(environ: Mapping[str, str]) -> Path:
    """`$XDG_RUNTIME_DIR/dynod`, else `/tmp/dynod-UID`; made if missing. Raises AppFolderError if it is another's."""
    candidates = [Path("/tmp") / f"dynod-{os.getuid()}"]  # noqa: S108 (0700, and its owner is checked)
    if environ.get("XDG_RUNTIME_DIR"):
        candidates.insert(0, Path(environ["XDG_RUNTIME_DIR"]) / "dynod")
    for folder in candidates:
        if len(os.fsencode(folder / LONGEST_NAME)) > LONGEST_SOCKET_PATH:
            continue
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
        try:
            info = folder.lstat()
        except OSError:
            continue
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
            raise AppFolderError(f"{folder} must be a folder that only you can enter (mode 0700): move it away")
        if os.access(folder, os.W_OK):
            return folder
    raise AppFolderError(f"no folder for the control socket: {' and '.join(map(str, candidates))} cannot be made")


class FolderClaim:
    """Held from the start of `dynod up` to its end; `release` removes every file of it."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
        self.socket_path = runtime / f"up-{key}.sock"
        self._mark_folder = folder.resolve() / MARK_FOLDER
        self._note = self.socket_path.with_suffix(".json")
        self._folder = folder
        self._lock = -1
        self.listener: socket.socket | None = None

    @classmethod
    def take(cls, folder: Path, runtime: Path, *, app: str, pid: int) -> "FolderClaim":
        """Claim the folder for the dynod with this process id. Raises AppFolderError if another one has it."""
        claim = cls(folder, runtime)
        claim._lock = claim._locked()
        for left in (claim.socket_path, claim._note):  # of a dynod that was killed: the lock is ours
            left.unlink(missing_ok=True)
        claim.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        claim.listener.bind(os.fspath(claim.socket_path))
        claim.socket_path.chmod(0o600)
        claim.listener.listen(BACKLOG)
        claim._write_mark({"app": app, "pid": pid, "socket": os.fspath(claim.socket_path)})
        return claim

    @classmethod
    def resume(cls, folder: Path, runtime: Path, fds: list[int]) -> "FolderClaim":
        """Go on with a claim whose descriptors the keeper has kept."""
        claim = cls(folder, runtime)
        claim._lock, listener = fds
        claim.listener = socket.socket(fileno=listener)
        return claim

    @property
    def control(self) -> socket.socket:
        """The listening control socket."""
        assert self.listener is not None  # noqa: S101 (made by take or resume)
        return self.listener

    @property
    def fds(self) -> list[int]:
        """What the keeper must hold for the claim to outlive the core."""
        return [self._lock, self.control.fileno()]

    def release(self) -> None:
        """Remove every file, and let go of the lock last."""
        if self.listener is not None:
            self.listener.close()
        for path in (self.socket_path, self._note, self._mark_folder / MARK, self._mark_folder / ".gitignore"):
            with contextlib.suppress(OSError):  # gone, or never written: dynod has to end all the same
                path.unlink()
        with contextlib.suppress(OSError):
            self._mark_folder.rmdir()  # unless somebody else keeps something in it
        os.close(self._lock)

    def _locked(self) -> int:
        lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise AppFolderError(
                f"another dynod up (pid {self._owner()}) runs in {self._folder}: stop it first, "
                "or run this one in another folder"
            ) from None
        except OSError:
            pass  # a file system without locks: better unguarded than not at all
        return lock

    def _owner(self) -> str:
        try:
            return str(json.loads((self._mark_folder / MARK).read_text(encoding="utf-8"))["pid"])
        except (OSError, ValueError, LookupError, TypeError):
            return "unknown"

    def _write_mark(self, mark: Mapping[str, object]) -> None:
        """Best effort: where neither of the two can be written to, dynod runs, and its verbs need --socket."""
        try:
            self._mark_folder.mkdir(exist_ok=True)
            (self._mark_folder / ".gitignore").write_text("*\n", encoding="utf-8")
            (self._mark_folder / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
        except OSError:
            note = {**mark, "folder": os.fspath(self._mark_folder.parent)}
            with contextlib.suppress(OSError):
                self._note.write_text(json.dumps(note) + "\n", encoding="utf-8")
