"""The project's own source, as the architecture tests read it: modules, what each imports, and the files around."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent
PACKAGES: Final = ("dynod", "router")

# What a fresh clone has at its top (shared names are fixed; anything else in the folder was made, not written).
TOP_LEVEL: Final = (
    *(".ci", ".gitignore", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "README.md"),
    *("config", "dynod", "loadtests", "pyproject.toml", "router", "systemd", "tests"),
)
_MADE: Final = frozenset(
    {"__pycache__", "node_modules", ".venv", "venv", ".dynod", ".hypothesis", ".peers", ".qemu", ".rsyslog"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module of dynod or router, read when a test asks: each process of a run has them all as parameters."""

    name: str
    path: Path

    @property
    def tree(self) -> ast.Module:
        return _tree(self.path)

    @property
    def imports(self) -> frozenset[str]:
        """Absolute dotted names: `from a import b` counts as `a.b`."""
        return _imported(self.path)

    @property
    def in_core(self) -> bool:
        return ".core." in f"{self.name}."

    def __str__(self) -> str:
        return self.name


@cache
def modules() -> tuple[Module, ...]:
    """Every module of both packages, by name."""
    return tuple(
        _module(path) for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py")) if _written(path)
    )


def written_files() -> Iterator[Path]:
    """Every file of the project that a person wrote, with no help from git: a source archive has none."""
    for name in TOP_LEVEL:
        top = REPOSITORY / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and _written(path):
                yield path


def _written(path: Path) -> bool:
    relative = path.relative_to(REPOSITORY)
    return not _MADE.intersection(relative.parts) and path.suffix not in {".pyc", ".so", ".sqlite3"}


def _module(path: Path) -> Module:
    relative = path.relative_to(REPOSITORY).with_suffix("")
    return Module(name=".".join(relative.parts).removesuffix(".__init__"), path=path)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


@cache
def _imported(path: Path) -> frozenset[str]:
    return frozenset(_imports(_tree(path)))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
