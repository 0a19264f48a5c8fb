"""`*/core/*` decides and does nothing else: what it may import is a short list, and it asks nobody for the time."""

import ast

import pytest

from support.source_tree import Module, modules

# An allowed list, not a forbidden one: a new module of the standard library is impure until somebody has looked.
PURE = {
    *("__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "collections.abc", "contextlib"),
    *("copy", "dataclasses", "datetime", "decimal", "difflib", "enum", "errno", "fractions", "functools", "hashlib"),
    *("heapq", "hmac", "html", "ipaddress", "itertools", "json", "math", "operator", "posixpath", "re", "shlex"),
    *("ast", "fnmatch", "tomllib"),
    *("statistics", "string", "struct", "textwrap", "types", "typing", "unicodedata", "urllib.parse", "zlib"),
}
CLOCKS = frozenset({"now", "utcnow", "today"})
DOING = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})

core_modules = pytest.mark.parametrize("module", [m for m in modules() if m.in_core], ids=str)


@core_modules
def test_core_imports_only_siblings_its_errors_and_pure_modules(module: Module) -> None:
    package = module.name.partition(".")[0]
    own_core = f"{module.name.rpartition('.core')[0]}.core."  # of a part such as dynod.builds.packs
    allowed = (f"{package}.core.", f"{package}.errors.", own_core)

    def is_pure(name: str) -> bool:
        return name in PURE or name.rpartition(".")[0] in PURE or name.startswith(allowed)

    assert sorted(name for name in module.imports if not is_pure(name)) == []


@core_modules
def test_core_reads_no_clock_and_does_nothing(module: Module) -> None:
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    clocks = [ast.unparse(c) for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr in CLOCKS]
    doings = [ast.unparse(c) for c in calls if isinstance(c.func, ast.Name) and c.func.id in DOING]
    waits = [
        type(node).__name__ for node in ast.walk(module.tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)
    ]
    assert [*clocks, *doings, *waits] == []


@core_modules
def test_core_writes_no_global(module: Module) -> None:
    assert [node for node in ast.walk(module.tree) if isinstance(node, ast.Global)] == []


def test_there_is_a_core_to_look_at() -> None:
    """Against a rename that would leave the tests above with nothing to do."""
    assert {m.name.split(".")[0] for m in modules() if m.in_core} == {"dynod", "router"}
