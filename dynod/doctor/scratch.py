"""A place where an app can run and leave no trace: its folder under an overlay, and a runtime folder of its own.

On Linux the app's processes see their folder where it always is, with a layer over it that takes what they write
(bubblewrap's `--overlay`): nothing is copied, nothing of the user's is changed, and the layer tells exactly what was
written. Where that is not to be had the folder is copied. Either way TMPDIR and the runtime folder are scratch too.
Starts nothing but a probe of bubblewrap; what runs here is `formation`'s.
"""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dynod.container_tools import find_bwrap
from dynod.core.doctor_time import TimeLeft
from dynod.errors import AppFolderError

PROBE_S: Final = 10.0
LARGEST_COPY: Final = 2 << 30  # bytes; what is larger is no app's code
NOT_COPIED: Final = (".git", ".dynod", "__pycache__")


class Scratch:
    """`with Scratch(folder) as scratch`: the folders are there inside, and gone after it."""

    def __init__(self, folder: Path, time_left: TimeLeft) -> None:
        self._time = time_left
        self._real = folder
        self._root = Path()
        self._bwrap: str | None = None
        self._before: Mapping[str, tuple[int, int]] = {}
        self.is_overlay = False

    def __enter__(self) -> Self:
        self._root = Path(tempfile.mkdtemp(prefix="dynod-doctor-")).resolve()
        try:
            self._prepare()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def folder(self) -> Path:
        """Where the app sees its code: its own folder's path, or the copy's."""
        return self._real if self.is_overlay else self._root / "copy"

    def environment(self) -> dict[str, str]:
        """The caller's variables, with TMPDIR and the runtime folder changed, and no daemon named."""
        own = {"TMPDIR": str(self._root / "tmp"), "XDG_RUNTIME_DIR": str(self._root / "run"), "NO_COLOR": "1"}
        named = {"DYNOD_SOCKET", "DYNOD_HOST", "DYNOD_APP", "FORCE_COLOR"}
        return {**{name: value for name, value in os.environ.items() if name not in named}, **own}

    def within(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` here; its end is that of whoever started it."""
        if self._bwrap is None or not self.is_overlay:
            return list(argv)
        layers = ["--overlay-src", str(self._real), "--overlay", str(self._upper), str(self._root / "work")]
        return [*self._sandbox(self._bwrap), *layers, str(self._real), "--chdir", str(self._real), "--", *argv]

    def read_only(self, argv: Sequence[str]) -> str | None:
        """The line of a Procfile that runs `argv` with a code folder that cannot be written to; None: not here."""
        if self._bwrap is None:
            return None
        shown = str(self.folder)
        return shlex.join([*self._sandbox(self._bwrap), "--ro-bind", shown, shown, "--chdir", shown, "--", *argv])

    def write(self, name: str, text: str) -> Path:
        """A file beside the app's folder."""
        path = self._root / name
        path.write_text(text, encoding="utf-8")
        return path

    def control_socket(self) -> str | None:
        """Of the `dynod up` that runs here, as its mark in the folder names it; None where there is none."""
        mark = (self._upper if self.is_overlay else self.folder) / ".dynod" / "up.json"
        try:
            return str(json.loads(mark.read_text(encoding="utf-8"))["socket"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def written(self) -> tuple[str, ...]:
        """What has been made or changed in the app's folder, relative to it, sorted."""
        if self.is_overlay:
            return tuple(sorted(name for name, path in _files(self._upper) if path.is_file() and not path.is_symlink()))
        return tuple(sorted(name for name, seen in _stamps(self.folder).items() if self._before.get(name) != seen))

    @property
    def _upper(self) -> Path:
        return self._root / "upper"

    def _prepare(self) -> None:
        if self._root.is_relative_to(self._real):
            raise AppFolderError(f"{self._real} holds the folder for temporary files: name another one by TMPDIR")
        for name in ("run", "tmp", "upper", "work"):
            (self._root / name).mkdir(mode=0o700)
        self._bwrap = find_bwrap() if sys.platform == "linux" else None
        if self._bwrap is not None:
            self.is_overlay = True
            if not self._works(self.within(["true"])):
                self.is_overlay = False
                shown = str(self._root)
                if not self._works([*self._sandbox(self._bwrap), "--ro-bind", shown, shown, "--", "true"]):
                    self._bwrap = None
        if not self.is_overlay:
            self._copy()

    def _copy(self) -> None:
        size = sum(path.lstat().st_size for _, path in _files(self._real))
        if size > LARGEST_COPY:
            raise AppFolderError(
                f"{self._real} holds {size >> 20} MB, too much to copy: run it on a machine with overlays"
            )
        ignored = shutil.ignore_patterns(*NOT_COPIED)
        try:
            shutil.copytree(self._real, self.folder, symlinks=True, ignore=ignored, copy_function=self._copy_file)
        except (OSError, shutil.Error) as error:
            raise AppFolderError(f"{self._real} cannot be copied: {error}") from error
        self._before = _stamps(self.folder)

    def _sandbox(self, bwrap: str) -> list[str]:
        """Everything as it is; root keeps what it may do, and nobody survives whoever started it."""
        privileges = ["--cap-add", "ALL"] if os.getuid() == 0 else []
        return [bwrap, "--dev-bind", "/", "/", "--die-with-parent", *privileges]

    def _works(self, argv: Sequence[str]) -> bool:
        wait_s = self._time.within(PROBE_S)
        try:
            ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=wait_s, check=False)  # noqa: S603 (ours)
        except (OSError, subprocess.SubprocessError):
            return False
        return ended.returncode == 0

    def _copy_file(self, source: str, to: str) -> str:
        self._time.need()
        return shutil.copy2(source, to)

    def _remove(self) -> None:
        def permit(_function: object, path: str, _error: object) -> None:
            with contextlib.suppress(OSError):  # overlayfs makes work/work without any permission
                os.chmod(path, 0o700)  # noqa: PTH101 (as rmtree has it)
                os.rmdir(path)  # noqa: PTH106 (as rmtree has it)

        shutil.rmtree(self._root, onerror=permit)


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in NOT_COPIED]
        for name in names:
            path = Path(folder) / name
            yield str(path.relative_to(root)), path


def _stamps(root: Path) -> dict[str, tuple[int, int]]:
    stamps = {}
    for name, path in _files(root):
        with contextlib.suppress(OSError):
            status = path.lstat()
            stamps[name] = (status.st_mtime_ns, status.st_size)
    return stamps
