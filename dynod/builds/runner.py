"""One build, from a source to a slug: the program that dynod starts for it, `python -m dynod.builds.runner SPEC`.

Flow: source → .slugignore → buildpacks (which, `core/build_plan`) → detect, compile, release of each → **slug**. It is
one tree of processes that can be limited, killed and contained as a whole; what it and its children print is the
build's output. It knows its folder (`work`) and nothing of stores, releases or dynod's state. Standard library and
PyYAML. Exit status 0: a result was written, whatever it is.
"""

import contextlib
import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dynod.builds.buildpack_scripts import Buildpack
from dynod.builds.buildpack_source import fetch_buildpack
from dynod.builds.extraction import code_folder, unpack
from dynod.builds.packs.core.catalogue import BEFORE_THE_DETECTED, DETECTION_ORDER, find_pack
from dynod.builds.slug_archive import TooLargeError, pack_slug
from dynod.builds.stack_probe import this_machine, virtualenv_interpreters
from dynod.builds.work import ENV, SLUG, SOURCE, BuildResult, BuildSpec, read_spec, write_result
from dynod.core import build_text
from dynod.core.app_manifest import parse_app_manifest
from dynod.core.archive_rules import Limits
from dynod.core.build_plan import BUILDPACKS_FILE, BuildPlan, Origin, plan_build
from dynod.core.procfile import parse_procfile
from dynod.core.release_document import ReleaseDocument, merged_types
from dynod.core.slug_manifest import FILE as MANIFEST_FILE
from dynod.core.slug_manifest import Interpreter, SlugManifest, read_interpreters, write_manifest
from dynod.core.slugignore import FILE as SLUGIGNORE
from dynod.core.slugignore import parse_slugignore
from dynod.errors import DynodError

LARGEST_FILE: Final = 1024 * 1024  # bytes of a Procfile, app.json and the like
NICENESS: Final = 10  # dynos go before builds


class _FailedError(DynodError):
    """The build cannot go on, and has said why."""


@dataclass(slots=True, kw_only=True)
class _Used:
    """What the buildpacks have left."""

    buildpacks: list[str] = field(default_factory=list)
    description: str = ""
    release: ReleaseDocument = field(default_factory=ReleaseDocument)
    interpreters: list[Interpreter] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """`arguments`: the path of the spec."""
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]  # a text stream
    spec = read_spec(Path(arguments[0]))
    work = Path(spec.work)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    try:
        write_result(work, _Build(spec).run())
    except _FailedError:
        write_result(work, BuildResult(ok=False))
    except DynodError as error:
        _say(build_text.error(str(error)))
        write_result(work, BuildResult(ok=False))
    except OSError as error:
        _say(build_text.error(f"{error.filename or 'The build'}: {error.strerror or error}"))
        write_result(work, BuildResult(ok=False))
    except Exception:  # noqa: BLE001 (the boundary of a build: whatever it is, is in its output)
        traceback.print_exc(file=sys.stdout)
        write_result(work, BuildResult(ok=False))
    return 0


class _Build:
    """One."""

    def __init__(self, spec: BuildSpec) -> None:
        self._spec = spec
        self._work = Path(spec.work)
        self._tree = self._work / f"build_{spec.build_id.replace('-', '')[:12]}"
        self._cache = Path(spec.cache) / "build"
        self._environment = dict(spec.environment)
        # Whose a repository is does not matter to who only reads it; git asks in a child that heeds no -c.
        settings = self._work / "gitconfig"
        settings.write_text("[safe]\n\tdirectory = *\n")
        self._environment.setdefault("GIT_CONFIG_GLOBAL", os.fspath(settings))
        self._built_in = built_in_buildpacks()

    def run(self) -> BuildResult:
        """Raises DynodError, OSError."""
        self._unpack()
        self._leave_out()
        machine = this_machine()
        _say(build_text.step(f"Building on {machine.os or 'this machine'}"))
        plan = self._plan()
        used = self._compile(plan)
        declared = self._declared()
        defaults = used.release.process_types
        _say(build_text.discovered(list(declared), [name for name in defaults if name not in declared]))
        types = merged_types(declared, defaults)
        if not types:
            raise DynodError("There is no process type: write a Procfile with a line such as web: COMMAND.")
        interpreters = [*virtualenv_interpreters(self._tree), *used.interpreters]
        manifest = SlugManifest(
            stack=this_machine(dict.fromkeys(interpreters)),
            buildpacks=tuple(used.buildpacks),
            process_types=types,
            config_vars=used.release.config_vars,
        )
        self._pack(manifest)
        return BuildResult(
            ok=True,
            description=used.description,
            origin=plan.origin.name,
            buildpacks=tuple(used.buildpacks),
            process_types=types,
        )

    # --- the source -------------------------------------------------------------------------------------------------

    def _unpack(self) -> None:
        source = self._work / "source"
        limits = Limits(packed=self._spec.most_packed, unpacked=self._spec.most_unpacked)
        unpack(self._work / SOURCE, source, limits)
        code_folder(source).rename(self._tree)
        shutil.rmtree(source, ignore_errors=True)
        shutil.rmtree(self._tree / ".git", ignore_errors=True)

    def _leave_out(self) -> None:
        """What .slugignore names, before any buildpack sees it (heroku-semantics 13, 24)."""
        text = self._read(SLUGIGNORE)
        if not text:
            return
        rules = parse_slugignore(text)
        for fault in rules.faults:
            _say(build_text.error(str(fault)))
        count = 0
        for at, folders, files in os.walk(self._tree):
            here = Path(at).relative_to(self._tree)
            for name in list(folders):
                path = self._tree / here / name
                is_folder = not path.is_symlink()
                if rules.ignores((here / name).as_posix(), is_folder=is_folder):
                    folders.remove(name)
                    count += 1
                    shutil.rmtree(path) if is_folder else path.unlink()
            for name in files:
                if rules.ignores((here / name).as_posix(), is_folder=False):
                    count += 1
                    (self._tree / here / name).unlink()
        if count:
            _say(build_text.step(f"Deleting {count} files matching {SLUGIGNORE} patterns."))

    def _read(self, name: str) -> str:
        """A text file of the source; "" where there is none."""
        try:
            with (self._tree / name).open("rb") as file:
                return file.read(LARGEST_FILE).decode(errors="replace")
        except OSError:
            return ""

    # --- buildpacks -------------------------------------------------------------------------------------------------

    def _plan(self) -> BuildPlan:
        plan = plan_build(
            listed=self._spec.listed,
            config=self._spec.config,
            manifest=parse_app_manifest(self._read("app.json")).buildpacks,
            file=self._read(BUILDPACKS_FILE),
            is_first=self._spec.is_first,
            built_in=self._built_in,
        )
        if plan.origin is not Origin.DETECTED:
            _say(build_text.chosen(plan.buildpacks))
        return plan

    def _compile(self, plan: BuildPlan) -> _Used:
        used = _Used()
        exports: list[Path] = []
        if plan.origin is Origin.DETECTED:
            for buildpack, name in self._detected(plan.buildpacks):
                self._use(buildpack, name, used, exports)
            return used
        for number, named in enumerate(plan.buildpacks):
            buildpack = self._buildpack(named, str(number))
            detected = buildpack.detect(self._tree, self._environment)
            if detected.name is None:
                _say(build_text.incompatible(named, detected.said))
                raise _FailedError
            self._use(buildpack, detected.name, used, exports)
        return used

    def _detected(self, candidates: Sequence[str]) -> list[tuple[Buildpack, str]]:
        """The first that wants the source, behind those that come with it (an Aptfile)."""
        wanted = [*self._wanting([pack.name for pack in BEFORE_THE_DETECTED])]
        first = next(self._wanting(candidates), None)
        if first is None:
            _say(build_text.nothing_detected(candidates))
            raise _FailedError
        return [*wanted, first]

    def _wanting(self, candidates: Sequence[str]) -> Iterator[tuple[Buildpack, str]]:
        for candidate in candidates:
            buildpack = self._buildpack(candidate, candidate.replace("/", "_"))
            name = buildpack.detect(self._tree, self._environment).name
            if name is not None:
                yield buildpack, name

    def _buildpack(self, name: str, place: str) -> Buildpack:
        folder = self._work / "packs" / place
        is_built_in = find_pack(name) is not None
        fetch_buildpack(
            name,
            folder,
            cache=Path(self._spec.cache) / "packs",
            is_built_in=is_built_in,
            environment=self._environment,
            warn=lambda text: _say(build_text.error(text)),
        )
        return Buildpack(name=name, folder=folder, is_built_in=is_built_in)

    def _use(self, buildpack: Buildpack, name: str, used: _Used, exports: list[Path]) -> None:
        _say(build_text.step(f"{name} app detected"))
        status = buildpack.compile(self._tree, self._cache, self._work / ENV, self._environment, exports)
        if status != 0:
            _say(build_text.failed_to_compile(name))
            raise _FailedError
        used.release = buildpack.release(self._tree, self._environment)  # the last one's counts
        used.description = name
        used.buildpacks.append(buildpack.name)
        with contextlib.suppress(OSError), buildpack.interpreters.open("rb") as file:
            used.interpreters += read_interpreters(file.read(LARGEST_FILE).decode(errors="replace"))
        if buildpack.export.is_file():
            exports.append(buildpack.export)

    # --- the slug ---------------------------------------------------------------------------------------------------

    def _declared(self) -> Mapping[str, str]:
        """The Procfile as the buildpacks have left it. Raises DynodError for every fault but doubles (contracts 8)."""
        read = parse_procfile(self._read("Procfile"))
        doubles = [fault for fault in read.faults if fault.message.endswith("already")]
        for fault in doubles:
            _say(build_text.error(f"{fault}: this line is left out"))
        faults = [fault for fault in read.faults if fault not in doubles]
        if faults:
            raise DynodError("\n".join(map(str, faults)))
        return {declared.name: declared.command for declared in read.types}

    def _pack(self, manifest: SlugManifest) -> None:
        _say(build_text.step("Compressing..."))
        shutil.rmtree(self._tree / ".git", ignore_errors=True)
        place = self._tree / MANIFEST_FILE
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        place.write_text(write_manifest(manifest))
        try:
            packed = pack_slug(self._tree, self._work / SLUG, most=self._spec.most_packed)
        except TooLargeError as error:
            _say(build_text.too_large(error.size, self._spec.most_packed))
            raise _FailedError from error
        _say(build_text.links_out(packed.copied, packed.left_out))
        _say(build_text.compressed(packed.size))


def built_in_buildpacks() -> tuple[str, ...]:
    """In the order of detection."""
    return tuple(pack.name for pack in DETECTION_ORDER)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
