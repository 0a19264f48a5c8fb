"""The half of the examination that starts nothing: the app's files, read and judged by the core.

What counts as the app's code is what git would commit, where there is git; else everything but what package managers
and builds make. Tests are not looked at: their secrets are made up, and what they import is nobody's in production.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from dynod.core import declared_packages
from dynod.core.declared_packages import Declared, Imported, canonical
from dynod.core.doctor import Check, Finding
from dynod.core.doctor_time import TimeLeft
from dynod.core.fault import Fault
from dynod.core.node_builtins import NODE_BUILTINS
from dynod.core.secret_text import secrets_in

GIT_S: Final = 10.0
LARGEST_FILE: Final = 512 << 10  # bytes; beyond is data
MOST_FILES: Final = 5_000
MOST_NAMED: Final = 5  # undeclared packages, each once
NOT_CODE: Final = frozenset(
    {
        *(".git", ".hg", ".svn", ".dynod", "node_modules", "bower_components", ".venv", "venv", "env", ".tox", ".nox"),
        *(
            "__pycache__",
            ".mypy_cache",
            ".ruff_cache",
            ".pytest_cache",
            "site-packages",
            "vendor",
            "dist",
            "build",
            "target",
        ),
        *(".next", ".nuxt", "coverage", "htmlcov", "staticfiles", ".idea", ".vscode", ".terraform"),
    }
)
_TESTS: Final = re.compile(
    r"(?:^|/)(?:tests?|specs?|__tests__|__mocks__|fixtures?|testdata|examples?|docs?)(?:/|$)"
    r"|(?:^|/)(?:test_[^/]*|conftest|[^/]*_test|tests)\.py$|\.(?:test|spec)\.[cm]?[jt]sx?$"
)
_LOCKS: Final = re.compile(r"(?:^|/)(?:[^/]*\.lock|package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|go\.sum)$")
_MEDIA: Final = re.compile(
    r"(?i)\.(?:png|jpe?g|gif|webp|avif|svg|ico|bmp|pdf|mp[34]|webm|og[gv]|woff2?|ttf|otf|eot|map|zip|gz)$"
)
_DOTENV: Final = re.compile(r"(?:^|/)\.env(?:\.(?!example|sample|template|dist|defaults?|test|ci)[^/]*)?$")
_NODE_FILE: Final = re.compile(r"\.(?:js|mjs|cjs|jsx|ts|mts|cts|tsx)$")
_NODE_LOCKS: Final = (
    *("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb"),
)
_ALIASES: Final = ("tsconfig.json", "jsconfig.json")  # with `paths` or `baseUrl`, any name may be a file
_UNREADABLE_MANIFESTS: Final = ("setup.py", "setup.cfg", "environment.yml", "environment.yaml", "conda.yaml")
# Of other languages: where the first file asks for packages, one of the others has to say which exactly.
_LOCKED: Final = (
    ("Gemfile", re.compile(r"(?m)^\s*gem\b"), ("Gemfile.lock",), "bundle lock"),
    ("composer.json", re.compile(r'"require"\s*:\s*\{[^}]*"[\w.-]+/[\w.-]+"'), ("composer.lock",), "composer update"),
    ("go.mod", re.compile(r"(?m)^\s*(?:require\s+)?[\w.-]+\.[\w./-]+\s+v\d"), ("go.sum",), "go mod tidy"),
    ("Cargo.toml", re.compile(r"(?m)^\[dependencies\]\s*\n\s*\w"), ("Cargo.lock",), "cargo generate-lockfile"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """The files of an app, relative to its folder. `committed`: those that git knows; None without git."""

    folder: Path
    files: tuple[str, ...]
    committed: frozenset[str] | None
    time_left: TimeLeft

    def text(self, name: str) -> str | None:
        """Of a file; None where it is none that a person wrote: too large, binary, or not readable.

        Raises OutOfTimeError.
        """
        self.time_left.need()
        path = self.folder / name
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_FILE:
                return None
            data = path.read_bytes()
        except OSError:
            return None
        return None if b"\0" in data else data.decode(errors="replace")


def read_code(folder: Path, time_left: TimeLeft) -> Code:
    """List the files. Raises OutOfTimeError, as all that reads them later does."""
    committed = _git(folder, time_left, "--cached")
    others = _git(folder, time_left, "--others", "--exclude-standard") if committed is not None else None
    known = [*(committed or ()), *(others or ())]
    known = known or list(_walked(folder, time_left))  # in no work tree, or ignored as a whole
    names = [name for name in sorted(set(known)) if not NOT_CODE.intersection(name.split("/")[:-1])]
    kept = frozenset(committed) if committed else None
    return Code(folder=folder, files=tuple(names), committed=kept, time_left=time_left)


def judge_files(faults: Iterable[Fault]) -> Iterator[Finding]:
    """Check.APP_FILES: what `dynod check` says."""
    for fault in faults:
        place = fault.file if fault.line is None else f"{fault.file} line {fault.line}"
        yield Finding(check=Check.APP_FILES, what=fault.message, where=place, to_do="see `dynod check`")


def find_secrets(code: Code) -> Iterator[Finding]:
    """Check.SECRETS."""
    rotate = "take it out, give it to the app as a config var, and replace it: whoever has the code has it"
    read = 0
    for name in code.files:
        if _DOTENV.search(name):
            if code.committed is not None and name in code.committed:
                what = "is committed to git, and holds the app's configuration"
                to_do = f"git rm --cached {name}, add it to .gitignore, and commit a .env.example instead"
                yield Finding(check=Check.SECRETS, what=what, where=name, to_do=to_do)
            continue  # else it is where secrets belong
        if _TESTS.search(name) or _LOCKS.search(name) or _MEDIA.search(name):
            continue
        read += 1
        if read > MOST_FILES or (text := code.text(name)) is None:
            continue
        for secret in secrets_in(text):
            yield Finding(
                check=Check.SECRETS,
                what=f"{secret.kind} ({secret.shown})",
                where=f"{name}:{secret.line}",
                to_do=rotate,
            )


def find_undeclared(code: Code) -> Iterator[Finding]:
    """Check.DEPENDENCIES."""
    yield from _python(code)
    yield from _node(code)
    for manifest, asks, locks, command in _LOCKED:
        text = code.text(manifest) if manifest in code.files else None
        if text is not None and asks.search(text) and not any(lock in code.files for lock in locks):
            yield Finding(
                check=Check.DEPENDENCIES,
                what=f"{manifest} asks for packages, and no {locks[0]} says which versions",
                where=manifest,
                to_do=f"run `{command}` and commit {locks[0]}",
            )


# --- Python -----------------------------------------------------------------------------------------------------------


def _python(code: Code) -> Iterator[Finding]:
    modules = [name for name in code.files if name.endswith(".py") and not _TESTS.search(name)][:MOST_FILES]
    own = {part for name in code.files if name.endswith(".py") for part in name.removesuffix(".py").split("/")}
    needed: dict[str, str] = {}
    for name in modules:
        text = code.text(name)
        for found in declared_packages.imports_of_python(text) if text is not None else ():
            if found.name not in sys.stdlib_module_names and found.name not in own:
                needed.setdefault(found.name, f"{name}:{found.line}")
    declared, manifests = _declared_python(code)
    if not needed or not declared.whole:
        return
    provides, requires = _installed(code.folder)
    known = declared_packages.with_what_they_bring(declared.names, requires)
    missing = {
        name: where for name, where in needed.items() if not declared_packages.is_declared(name, known, provides)
    }
    if missing:
        where = next(iter(missing.values()))
        place = manifests[0] if manifests else "requirements.txt"
        says = f"{place} does not declare" if manifests else "there is no requirements.txt, and it imports"
        yield Finding(
            check=Check.DEPENDENCIES,
            what=f"{says} {_named(missing)}",
            where=where,
            to_do=f"add {'it' if len(missing) == 1 else 'them'} to {place}: what happens to be installed here is "
            "missing elsewhere",
        )


def _declared_python(code: Code) -> tuple[Declared, list[str]]:
    names: set[str] = set()
    manifests: list[str] = []
    whole = not any(name in code.files for name in _UNREADABLE_MANIFESTS)
    waiting = [
        name
        for name in code.files
        if re.fullmatch(r"(?:requirements/)?[^/]*requirements[^/]*\.(?:txt|in)|requirements/[^/]*\.(?:txt|in)", name)
    ]
    waiting += [
        name for name in ("pyproject.toml", "Pipfile", "poetry.lock", "uv.lock", "Pipfile.lock") if name in code.files
    ]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        if name in seen or (text := code.text(name)) is None:
            continue
        seen.add(name)
        manifests.append(name)
        if name == "Pipfile.lock":
            read = declared_packages.of_pipfile_lock(text)
        elif name.endswith((".toml", ".lock", "Pipfile")):
            read = declared_packages.of_toml(text)
        else:
            read, included = declared_packages.of_requirements(text)
            waiting += [os.path.normpath(Path(name).parent / other) for other in included]
        names |= read.names
        whole &= read.whole
    return Declared(names=frozenset(names), whole=whole), manifests


def _installed(folder: Path) -> tuple[Mapping[str, frozenset[str]], Mapping[str, frozenset[str]]]:
    """Of the app's own environment: import name → packages that provide it; package → those that it requires."""
    places = [path for venv in (".venv", "venv") for path in (folder / venv).glob("lib/python3*/site-packages")]
    active = os.environ.get("VIRTUAL_ENV")
    if not places and active and Path(active).resolve() != Path(sys.prefix).resolve():
        places = list(Path(active).glob("lib/python3*/site-packages"))
    provides: dict[str, set[str]] = {}
    requires: dict[str, frozenset[str]] = {}
    for package in metadata.distributions(path=[str(place) for place in places]) if places else ():
        name = canonical(package.metadata["Name"] or "")
        requires[name] = frozenset(map(declared_packages.required_by, package.requires or ()))
        for top in _top_level(package):
            provides.setdefault(top, set()).add(name)
    return {top: frozenset(names) for top, names in provides.items()}, requires


def _top_level(package: metadata.Distribution) -> set[str]:
    told = package.read_text("top_level.txt")
    if told:
        return set(told.split())
    files = package.files or ()
    return {file.parts[0].partition(".")[0] for file in files if file.suffix in {".py", ".so", ".pyd"}}


# --- Node -------------------------------------------------------------------------------------------------------------


def _node(code: Code) -> Iterator[Finding]:
    text = code.text("package.json") if "package.json" in code.files else None
    manifest = declared_packages.of_package_json(text) if text is not None else None
    if manifest is None:
        return
    if manifest.has_dependencies and not any(lock in code.files for lock in _NODE_LOCKS):
        yield Finding(
            check=Check.DEPENDENCIES,
            what="package.json asks for packages, and no lock file says which versions",
            where="package.json",
            to_do="run `npm install --package-lock-only` (or yarn, or pnpm) and commit the lock file",
        )
    if any(name in code.files for name in _ALIASES):
        return
    others = [code.text(name) for name in code.files if name.endswith("/package.json")]
    manifests = [manifest, *filter(None, (declared_packages.of_package_json(each) for each in others if each))]
    declared = {name for each in manifests for name in (*each.declared, each.name)}
    missing: dict[str, str] = {}
    sources = [
        name
        for name in code.files
        if _NODE_FILE.search(name)
        and not _TESTS.search(name)
        and not name.startswith(("public/", "static/", "assets/"))
    ]
    for name in sources[:MOST_FILES]:
        for found in _imports(code.text(name)):
            if found.name.partition("/")[0] not in NODE_BUILTINS and found.name not in declared:
                missing.setdefault(found.name, f"{name}:{found.line}")
    if missing:
        yield Finding(
            check=Check.DEPENDENCIES,
            what=f"package.json does not declare {_named(missing)}",
            where=next(iter(missing.values())),
            to_do=f"npm install --save {' '.join(list(missing)[:MOST_NAMED])}",
        )


def _imports(text: str | None) -> Sequence[Imported]:
    return declared_packages.imports_of_node(text) if text is not None else ()


# --- files ------------------------------------------------------------------------------------------------------------


def _named(missing: Mapping[str, str]) -> str:
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return ", ".join(list(missing)[:MOST_NAMED]) + more


def _git(folder: Path, time_left: TimeLeft, *which: str) -> list[str] | None:
    """File names as git has them; None where the folder is in no work tree, or there is no git."""
    try:
        listed = subprocess.run(  # noqa: S603 (ours)
            ["git", "-C", str(folder), "ls-files", "-z", *which],  # noqa: S607 (the user's git)
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},  # of a hook
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=time_left.within(GIT_S),
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name] if listed.returncode == 0 else None


def _walked(folder: Path, time_left: TimeLeft) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        time_left.need()
        folders[:] = sorted(name for name in folders if name not in NOT_CODE)
        for name in sorted(names):
            yield str((Path(place) / name).relative_to(folder))
