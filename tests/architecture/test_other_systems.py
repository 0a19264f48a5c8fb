"""What only Linux has is used only where a feature check stands before it, and what is given up without it is written.

mypy knows from typeshed which names macOS lacks, and passes over what stands behind `sys.platform`. What is left is the
list below: each such module asks `keeper/features.py`, or is only made by one that does.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Final

import pytest

from dynod.keeper.features import NAMES, WITHOUT
from support import abilities
from support.source_tree import REPOSITORY, Module, modules

NOT_ON_MACOS: Final = {
    ("dynod/keeper/cgroups.py", "getxattr"),  # of a control group: behind Features.cgroup
    ("dynod/keeper/instances.py", "waitid"),  # behind Features.waitid
    ("dynod/process/sockets.py", "AF_NETLINK"),  # SocketTable asks by netlink only where Features has it
    ("dynod/process/sockets.py", "SOCK_CLOEXEC"),
    ("dynod/keeper/landlock.py", "O_PATH"),  # behind `is_there`
    ("dynod/process/container.py", "memfd_create"),  # made only where container_tools has made one
    ("dynod/process/container.py", "MFD_CLOEXEC"),
    ("dynod/process/container.py", "O_PATH"),  # of what dynos leave that were kept apart
    ("dynod/logs/write_mark.py", "MFD_CLOEXEC"),  # behind hasattr
    *(("router/hangups.py", name) for name in ("epoll", "EPOLLET", "EPOLLERR")),  # made only where there is epoll
    ("router/tcp.py", "TCP_INFO"),  # asked for only where sys.platform says linux
    *(  # PeekedPipes, made only where tee(2) was found and Features has it
        ("dynod/logs/dyno_pipe.py", name)
        for name in ("F_GETPIPE_SZ", "epoll", "EPOLLIN", "EPOLLET", "EPOLLHUP", "splice")
    ),
}
READS_PROC: Final = {
    "dynod.core.container",  # names of what is shown to dynos
    "dynod.process.container",  # as above: of containers that were made
    "dynod.process.nameless_files",  # of dynos that are kept apart, which takes Linux; finds nothing elsewhere
    "dynod.process.enter",  # a program that is started where containers were made
    "dynod.core.own_user",  # as above: a level that is there on Linux alone, since it is tried
    "dynod.cli.systemd",  # a machine without IPv6 is one without that file; without systemd the verb is refused
    "dynod.doctor.running",  # in whole_read, which without it finds nothing: no request is seen in flight then
    "dynod.keeper.cgroups",  # behind Features.cgroup
    "dynod.keeper.controllers",  # made only beside cgroups
    "dynod.keeper.features",
    "dynod.keeper.own_groups",  # which are none where the files are not there
    "dynod.keeper.processes",  # behind Features.proc
    "dynod.keeper.spawn",  # in _is_shielded, which is False where it cannot be read
    "dynod.logs.dyno_pipe",  # in is_full, which answers without it too
    "dynod.platform_api.tcp_peer",  # in user_of, which without it knows nobody's user
    "dynod.process.sockets",  # behind Features.netlink and Features.proc
    "dynod.process.usage",  # behind UsageReader.proc, and of control groups
}
CALLS_C: Final = {
    *(
        "dynod.keeper.call_filter",
        "dynod.keeper.features",
        "dynod.keeper.landlock",
        "dynod.keeper.mounts",
        "dynod.logs.dyno_pipe",
    ),
    *("dynod.keeper.own_port", "dynod.process.enter"),
}


@pytest.mark.timeout(300)  # mypy over everything, without what it remembers, on a busy machine
def test_names_that_macos_lacks_are_used_only_behind_a_feature_check() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--platform", "darwin", "--cache-dir", ".mypy_cache/darwin", "dynod", "router"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    found = set(re.findall(r'^(.+?):\d+: error: Module has no attribute "(\w+)"', checked.stdout, re.MULTILINE))
    assert found == NOT_ON_MACOS
    missing = [line for line in checked.stdout.splitlines() if "[attr-defined]" in line]
    assert [line for line in missing if "Module has no attribute" not in line] == []


@pytest.mark.parametrize("module", modules(), ids=str)
def test_proc_sys_and_the_c_library_are_used_in_few_modules(module: Module) -> None:
    texts = list(_texts(module.tree))
    if module.name not in READS_PROC:
        assert [text for text in texts if re.match(r"/(proc|sys)/", text)] == []
    if module.name not in CALLS_C:
        assert not any(name.split(".")[0] == "ctypes" for name in module.imports)


def _texts(tree: ast.Module) -> Iterator[str]:
    """Every literal but docstrings, f-strings by their first piece."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


# --- what is given up -------------------------------------------------------------------------------------------------


@cache
def marks() -> list[tuple[str, list[str], str]]:
    """Of every `needs_ability` in tests: the file, the abilities, the reason."""
    found = []
    for path in sorted((REPOSITORY / "tests" / "integration").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{abilities.MARK}":
                (reason,) = [ast.literal_eval(each.value) for each in node.keywords if each.arg == "reason"]
                found.append((path.name, [ast.literal_eval(each) for each in node.args], str(reason)))
    return found


def test_each_mark_names_abilities_and_a_reason() -> None:
    assert marks()
    for file, names, reason in marks():
        assert names, file
        assert set(names) <= set(NAMES), (file, names)
        assert reason, file


def test_a_marked_test_runs_where_its_abilities_are_and_only_there() -> None:
    for _file, names, reason in marks():
        mark = pytest.mark.needs_ability(*names, reason=reason).mark
        others = ",".join(set(NAMES).difference(names))
        assert list(abilities.reasons_to_skip([mark], {WITHOUT: others})) == []
        for name in names:
            assert list(abilities.reasons_to_skip([mark], {WITHOUT: name})) == [f"needs {name}: {reason}"]


def test_what_is_given_up_is_in_a_table() -> None:
    document = (REPOSITORY / "ARCHITECTURE.md").read_text()
    (section,) = re.findall(r"^## Other systems$(.*?)^## ", document, re.MULTILINE | re.DOTALL)
    rows = set(re.findall(r"^\| `([\w`, ]+)` \|", section, re.MULTILINE))
    assert {name for row in rows for name in re.findall(r"\w+", row)} == set(NAMES)
