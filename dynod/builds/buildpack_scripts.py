"""Runs the scripts of one buildpack: detect, compile, release. The classic API (heroku-semantics 9.1, 9.2).

What compile prints goes where the runner's own output goes, as it comes. Each script is a child of the runner, so that
it ends with the build; how long that may take is not decided here. Blocks.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from dynod.builds.packs.core.catalogue import PROCFILE, find_pack, fits, shown_name
from dynod.builds.packs.workspace import open_workspace
from dynod.core.release_document import ReleaseDocument, ReleaseDocumentError, read_release_document

LARGEST_SAID: Final = 64 * 1024  # bytes, of what is read and not only passed on
PIECE_BYTES: Final = 8192
BASH: Final = "bash"
CANNOT_RUN: Final = 126  # as shells have it
# What earlier buildpacks have exported is read by a shell, as they are written in its language.
_SOURCING: Final = 'count=$1; shift; while [ "$count" -gt 0 ]; do . "$1"; shift; count=$((count - 1)); done; exec "$@"'


class Detected(NamedTuple):
    """`name`: of the kind of app; None: the buildpack does not want it, and says why in `said`."""

    name: str | None
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildpack:
    """One that is here. `folder`: its own; a built-in one has nothing in it but what it writes."""

    name: str
    folder: Path
    is_built_in: bool

    @property
    def export(self) -> Path:
        """What it leaves for the buildpacks that come after it."""
        return self.folder / "export"

    @property
    def interpreters(self) -> Path:
        """What it says of the interpreters that the slug needs; dynod's own, see `core/slug_manifest`."""
        return self.folder / "interpreters"

    def detect(self, build: Path, environment: Mapping[str, str]) -> Detected:
        """Whether it wants the source."""
        if self.is_built_in:
            return self._detect_here(build)
        if not (self.folder / "bin" / "detect").is_file():
            return Detected(None, "it has no bin/detect")
        status, said = self._read("detect", [os.fspath(build)], environment, build, errors=True)
        lines = said.strip().splitlines()
        return Detected(lines[-1].strip() if lines else self.name, said) if status == 0 else Detected(None, said)

    def compile(
        self, build: Path, cache: Path, config: Path, environment: Mapping[str, str], exports: Sequence[Path]
    ) -> int:
        """Make the source ready to run; returns the exit status."""
        if self._does_nothing:
            return 0
        argv = self._argv("compile", [os.fspath(build), os.fspath(cache), os.fspath(config)])
        if exports:
            argv = [BASH, "-c", _SOURCING, BASH, str(len(exports)), *map(os.fspath, exports), *argv]
        sys.stdout.flush()
        try:
            return subprocess.run(  # noqa: S603 (what the app's owner asked for)
                argv,
                cwd=build,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        except OSError as error:
            print(f"bin/compile cannot be run: {error.strerror or error}", flush=True)  # noqa: T201 (the build's output)
            return CANNOT_RUN

    def release(self, build: Path, environment: Mapping[str, str]) -> ReleaseDocument:
        """What it declares. Raises ReleaseDocumentError."""
        if self._does_nothing or not (self.is_built_in or (self.folder / "bin" / "release").is_file()):
            return ReleaseDocument()
        status, said = self._read("release", [os.fspath(build)], environment, build, errors=False)
        if status != 0:
            raise ReleaseDocumentError(f"bin/release of {self.name} has exited with status {status}")
        return read_release_document(load_release_document(said))

    def _detect_here(self, build: Path) -> Detected:
        """As `packs NAME detect` has it, without a process for each of a dozen candidates."""
        pack = find_pack(self.name)
        assert pack is not None  # noqa: S101 (it is built in)
        workspace = open_workspace(os.fspath(build))
        if fits(pack, workspace.names, workspace.read):
            return Detected(shown_name(pack, workspace.names, workspace.read), "")
        return Detected(None, f"this is for an app with {' or '.join(pack.files)}")

    @property
    def _does_nothing(self) -> bool:
        """What is built already, by its Procfile: no process is started for that."""
        return self.is_built_in and find_pack(self.name) is PROCFILE

    def _argv(self, script: str, arguments: Sequence[str]) -> list[str]:
        if self.is_built_in:
            return [sys.executable, "-I", "-m", "dynod.builds.packs", self.name, script, *arguments]
        return [os.fspath(self.folder / "bin" / script), *arguments]

    def _environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        return {**environment, "DYNOD_BUILDPACK_DIR": os.fspath(self.folder)}

    def _read(
        self, script: str, arguments: Sequence[str], environment: Mapping[str, str], build: Path, *, errors: bool
    ) -> tuple[int, str]:
        """Exit status and output, as much of it as there may be; a script that says more is told so by SIGPIPE."""
        sys.stdout.flush()
        try:
            process = subprocess.Popen(  # noqa: S603 (what the app's owner asked for)
                self._argv(script, arguments),
                cwd=build,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if errors else None,
            )
        except OSError as error:
            return CANNOT_RUN, f"bin/{script} cannot be run: {error.strerror or error}"
        said = bytearray()
        with process:
            assert process.stdout is not None  # noqa: S101 (it is a pipe)
            while len(said) <= LARGEST_SAID and (piece := process.stdout.read1(PIECE_BYTES)):  # type: ignore[attr-defined]  # a BufferedReader
                said += piece
            process.stdout.close()
        return process.returncode, said[:LARGEST_SAID].decode(errors="replace")


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: repeated often enough, they make much of little."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ReleaseDocumentError("bin/release printed an alias (*), which is not read")
        return super().compose_node(parent, index)


def load_release_document(text: str) -> object:
    """YAML as plain values. Raises ReleaseDocumentError."""
    try:
        loaded: object = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ReleaseDocumentError(f"bin/release printed what is no YAML: {str(error).splitlines()[0]}") from error
    return loaded
