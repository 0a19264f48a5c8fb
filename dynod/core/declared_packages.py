"""Which packages an app declares, and which of its imports nobody has declared: Python and Node.

Reads manifests and lock files, given as text, and compares them with imports that were found in the code. An import
counts as undeclared only where that is certain: not the standard library's, not a module of the app's own, not under
the name of any package that is declared or that a declared one brings along, and not guarded against its absence.
Pure; files and installed metadata are read by `dynod.doctor`.

Names: PEP 503 for Python (`Foo.Bar_baz` is `foo-bar-baz`), and for Node what `require` resolves (`@scope/name/file` is
`@scope/name`).
"""

import ast
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple

# Import names of packages that are called otherwise, for where nothing is installed to ask. Never complete, so that an
# import with another name than its package is believed wherever a declared package could be meant.
_CALLED: Final[Mapping[str, tuple[str, ...]]] = {
    "attr": ("attrs",),
    "bs4": ("beautifulsoup4",),
    "Crypto": ("pycryptodome", "pycrypto"),
    "cv2": ("opencv-python", "opencv-python-headless"),
    "dateutil": ("python-dateutil",),
    "dotenv": ("python-dotenv",),
    "fitz": ("pymupdf",),
    "git": ("gitpython",),
    "jose": ("python-jose",),
    "jwt": ("pyjwt",),
    "magic": ("python-magic",),
    "multipart": ("python-multipart",),
    "MySQLdb": ("mysqlclient",),
    "OpenSSL": ("pyopenssl",),
    "PIL": ("pillow",),
    "pkg_resources": ("setuptools",),
    "psycopg": ("psycopg", "psycopg-binary"),
    "psycopg2": ("psycopg2", "psycopg2-binary"),
    "rest_framework": ("djangorestframework",),
    "serial": ("pyserial",),
    "sklearn": ("scikit-learn",),
    "skimage": ("scikit-image",),
    "yaml": ("pyyaml",),
    "zmq": ("pyzmq",),
}
_REQUIREMENT: Final = re.compile(
    r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;@#].*)?$"
)
_EGG: Final = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
_NODE_IMPORT: Final = re.compile(
    r"""(?:^|[;}\s])(?:import|export)\s+(?:type\s+)?(?:[\w*{}\s,$]+?\s+from\s+)?(['"])(?P<static>[^'"\s]+)\1"""
    r"""|(?<![\w.$])require\s*\(\s*(['"])(?P<required>[^'"\s]+)\3\s*\)""",
    re.MULTILINE,
)
_NODE_COMMENT: Final = re.compile(r"/\*.*?\*/|(?<![:'\"\\])//[^\n]*", re.DOTALL)
_NODE_NAME: Final = re.compile(r"(?:@[a-z0-9~-][\w.~-]*/)?[a-z0-9~_-][\w.~-]*", re.ASCII | re.IGNORECASE)


class Imported(NamedTuple):
    """A package that code needs, by its first name, and the line (from 1)."""

    name: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a manifest declares. `whole`: it could be read to its end, so that what is not in it is not declared."""

    names: frozenset[str] = frozenset()
    whole: bool = True


def canonical(name: str) -> str:
    """A Python package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


# --- Python -----------------------------------------------------------------------------------------------------------


def of_requirements(text: str) -> tuple[Declared, tuple[str, ...]]:
    """Of a requirements file, and the files that it includes (`-r`, `-c`)."""
    names: set[str] = set()
    included: list[str] = []
    whole = True
    for raw in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"(?:^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        option = re.match(r"(?:-r|--requirement|-c|--constraint)[\s=]*(\S+)$", line)
        if option is not None:
            included.append(option[1])
        elif (egg := _EGG.search(line)) is not None:
            names.add(canonical(egg[1]))
        elif line.startswith("-"):
            whole &= not line.startswith(("-e", "--editable"))
        elif line.startswith((".", "/")) or "://" in line.partition("@")[0]:
            whole = False  # a folder or an archive, which may hold anything
        else:
            match = _REQUIREMENT.match(re.sub(r"\s--(?:hash|config-settings|global-option).*$", "", line))
            if match is None:
                whole = False
            else:
                names.add(canonical(match[1]))
    return Declared(names=frozenset(names), whole=whole), tuple(included)


def of_toml(text: str) -> Declared:
    """Of pyproject.toml (PEP 621, PEP 735, Poetry), Pipfile, poetry.lock, uv.lock or pylock.toml."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return Declared(whole=False)
    names: set[str] = set()
    project = _table(document, "project")
    names |= _required(project.get("dependencies"))
    for group in (*_table(project, "optional-dependencies").values(), *_table(document, "dependency-groups").values()):
        names |= _required(group)
    poetry = _table(_table(document, "tool"), "poetry")
    groups = [poetry, *(each for each in _table(poetry, "group").values() if isinstance(each, dict))]
    for each in groups:
        names |= {canonical(name) for name in _table(each, "dependencies")}
    for section in ("packages", "dev-packages"):
        names |= {canonical(name) for name in _table(document, section)}
    for section in ("package", "packages"):
        locked = document.get(section)
        if isinstance(locked, list):
            names |= {canonical(str(each["name"])) for each in locked if isinstance(each, dict) and "name" in each}
    return Declared(names=frozenset(names))


def of_pipfile_lock(text: str) -> Declared:
    """Of Pipfile.lock."""
    document = _json(text)
    names = {canonical(name) for section in ("default", "develop") for name in _table(document, section)}
    return Declared(names=frozenset(names), whole=bool(document))


def imports_of_python(text: str) -> list[Imported]:
    """What a module needs: absolute imports by their first name, but those that it can do without.

    Guarded are those in a `try` that catches ImportError (or everything), and those below `if TYPE_CHECKING`. A text
    that this Python cannot parse needs nothing that anybody could tell.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return list(_needed(tree.body))


def is_declared(name: str, declared: AbstractSet[str], brought: Mapping[str, AbstractSet[str]]) -> bool:
    """Whether some declared Python package may be the one that provides the import `name`.

    `brought`: of what is installed, import name → packages that provide it; only those for which `declared`, with all
    that its packages bring along, is what counts.
    """
    if name in brought:
        return not declared.isdisjoint(brought[name])
    candidates = {canonical(name), *_CALLED.get(name, ())}
    if not candidates.isdisjoint(declared):
        return True
    # django-environ is `environ`, python-slugify is `slugify`, flask_login is Flask-Login: believed by their parts.
    parts = canonical(name).split("-")
    return any(set(parts) <= set(package.split("-")) for package in declared)


def with_what_they_bring(declared: Iterable[str], requires: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """The declared packages and all that they require, as far as what is installed says so."""
    found: set[str] = set()
    waiting = list(declared)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += requires.get(name, ())
    return frozenset(found)


def required_by(requirement: str) -> str:
    """The package that a line of `Requires-Dist` names."""
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return canonical(match[1].rstrip(".-_")) if match is not None else ""


def _needed(body: Iterable[ast.stmt]) -> Iterator[Imported]:
    for node in body:
        match node:
            case ast.Import():
                yield from (Imported(alias.name.partition(".")[0], node.lineno) for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield Imported(module.partition(".")[0], node.lineno)
            case ast.Try():
                if not any(map(_catches_absence, node.handlers)):
                    yield from _needed(node.body)
                yield from _needed([*node.orelse, *node.finalbody])
            case ast.If():
                if "TYPE_CHECKING" not in ast.unparse(node.test):
                    yield from _needed(node.body)
                yield from _needed(node.orelse)
            case ast.With() | ast.AsyncWith():
                if not any("suppress" in ast.unparse(item.context_expr) for item in node.items):
                    yield from _needed(node.body)
            case ast.ClassDef():
                yield from _needed(node.body)
            case _:
                pass  # within a function: needed only where that is called, perhaps never


def _catches_absence(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return not names.isdisjoint({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _required(entries: object) -> set[str]:
    if not isinstance(entries, list):
        return set()
    return {required_by(each) for each in entries if isinstance(each, str)}


# --- Node -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeManifest:
    """Of package.json: its own name, and every package of every kind of dependency. `aliases`: of `imports`."""

    name: str
    declared: frozenset[str]
    has_dependencies: bool


def of_package_json(text: str) -> NodeManifest | None:
    """None where it is no JSON object, which `npm` will say better."""
    document = _json(text)
    if not document:
        return None
    kinds = ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")
    return NodeManifest(
        name=str(document.get("name", "")),
        declared=frozenset(name for kind in kinds for name in _table(document, kind)),
        has_dependencies=bool(_table(document, "dependencies")),
    )


def imports_of_node(text: str) -> list[Imported]:
    """The packages that a JavaScript or TypeScript file names in `import … from` and `require(…)`.

    Not: files (`./a`), `node:` and other schemes, subpath imports (`#a`), aliases of bundlers (`@/a`, `~/a`).
    """
    code = _NODE_COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    found = []
    for match in _NODE_IMPORT.finditer(code):
        group = "static" if match["static"] is not None else "required"
        name = node_package(match[group])
        if name is not None:
            found.append(Imported(name, code.count("\n", 0, match.start(group)) + 1))
    return found


def node_package(specifier: str) -> str | None:
    """The package of what follows `from`; None where it is none."""
    if ":" in specifier or specifier.startswith((".", "/", "#", "~/", "@/", "$")):
        return None
    parts = specifier.split("/")
    name = "/".join(parts[:2]) if specifier.startswith("@") else parts[0]
    return name if _NODE_NAME.fullmatch(name) else None


def _json(text: str) -> Mapping[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _table(document: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}
