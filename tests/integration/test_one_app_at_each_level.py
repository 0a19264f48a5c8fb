"""One app at every level of isolation, as root and as an ordinary user: how it behaves, and what each keeps from it.

README's table of the levels is the one below.
"""

import json
import os
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from dynod.keeper import landlock
from support.app_folder import TOYS
from support.boxed import AS_NOBODY, AS_SERVICE, IN_DOCKER, NOBODY, Boxed, needs_root
from support.contained import abstract_socket, needs_containers
from support.processes import MARK
from support.serve import ServedApp
from support.source_tree import REPOSITORY

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.needs_ability("subreaper", "proc", "netlink", reason="such machines, and users of apps, are Linux's"),
]


class Level(NamedTuple):
    """A machine, and what dynod is asked for there."""

    isolation: str
    rights: tuple[str, ...]  # () is root
    namespaces: bool


LEVELS: Final = {
    "container, root": Level("container", (), namespaces=True),
    "container, ordinary user": Level("container", AS_NOBODY, namespaces=True),
    "user, root": Level("user", IN_DOCKER, namespaces=False),
    "user, as the service": Level("user", AS_SERVICE, namespaces=False),
    "none, root": Level("none", (), namespaces=True),
    "none, ordinary user": Level("none", AS_NOBODY, namespaces=False),
}
COLUMNS: Final = ("container", "user", "none")

# By what the app calls it: a sentence of README's, and in which of the columns it can.
REACHED: Final[dict[str, tuple[str, tuple[bool, bool, bool]]]] = {
    "state": ("reads what dynod knows", (False, False, True)),
    "code": ("reads the code of other apps", (False, False, True)),
    "environment": ("reads dynod's environment", (False, False, True)),
    "file": ("reads files that every user of the machine may read, beside the system's", (False, False, True)),
    "control": ("talks to dynod's control socket", (False, False, True)),
    "daemon": ("signals dynod", (False, False, True)),
    "other": ("signals dynos of other apps", (False, False, True)),
    "sibling": ("signals other dynos of its app", (False, False, True)),
    "abstract": ("reaches abstract sockets of others", (False, False, True)),
    "calls": ("makes system calls that no app needs", (False, False, True)),
    "rights": ("gains rights by programs that give some", (False, False, True)),
    "processes": ("sees the machine's processes", (False, True, True)),
    "tmp": ("sees the machine's `/tmp`", (False, True, True)),
    "written": ("finds what a dyno before it has written beside its code", (False, False, True)),
}
NEEDS_SCOPES: Final = ("sibling", "abstract")


@pytest.fixture(scope="module", params=LEVELS)
def level(request: pytest.FixtureRequest) -> Level:
    return LEVELS[str(request.param)]


@pytest.fixture(scope="module")
def serve(level: Level) -> Iterator[Boxed]:
    needs_root()
    if level.isolation == "container":
        needs_containers()
    settings = {"DYNOD_DYNOS_SETTLE_S": "0.2"}
    with Boxed(level.rights, namespaces=level.namespaces, isolation=level.isolation, env=settings) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def app(serve: Boxed, level: Level) -> ServedApp:
    script = (TOYS / "one_app.py").read_text()
    procfile = {"web": f"{sys.executable} app.py", "worker": f"{sys.executable} app.py work"}
    folder = serve.folder_of(serve.own, "shop", procfile=procfile, files={"app.py": script})
    if level.rights == AS_NOBODY:
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
    serve.done("apps:create", "shop", "--dir", str(folder))
    app = serve.known_app("shop")
    app.wait_until_up("web.1")
    return app


def test_it_behaves_the_same(serve: Boxed, app: ServedApp, level: Level) -> None:
    assert app.get("/").text == "hello\n"
    found: dict[str, Any] = json.loads(app.get("/facts").text)
    variables = found.pop("variables")
    found.pop("written before")
    assert [name for name in variables if name != MARK] == ["DYNO", "HOME", "LANG", "PATH", "PORT", "PYTHONUNBUFFERED"]
    assert found == {
        "home is the working folder": True,
        "dyno": "web.1",
        "umask": "0022",
        "stdin": "",
        "files": ["Procfile", "app.json", "app.py"],
        "dumps no core": True,
        "writes beside its code": "",
        "writes to /tmp": "",
        "writes temporary files": "",
        "writes to /dev/shm": "",
        "prints through /dev/stdout": "",
        "prints through /dev/stderr": "",
        "finds hosts": "",
        "status of a child": 9,
        "signals a child": -15,
    }
    for text in ("to stderr", "through /dev/stdout", "through /dev/stderr"):
        app.wait_for_log(rf"app\[web\.1\]: {text}$")
    inside = 'test "$PWD" = "$HOME" && echo $DYNO $PORT && ls && exit 7'
    for verb, dyno in ((("ps:exec", "web.1"), "web.1"), (("run",), None)):
        ended = serve.dynod(verb[0], "-a", "shop", "--no-tty", *verb[1:], "--", "sh", "-c", inside)
        assert ended.returncode == 7, ended.stderr
        names, *files = ended.stdout.splitlines()
        kept = ["media"] if dyno is not None or level.isolation == "none" else []
        assert files == ["Procfile", "app.json", "app.py", *kept]
        if dyno is not None:
            assert names == f"{dyno} {app.dynos()[dyno]['dynod']['port']}"


def test_it_is_asked_to_leave_and_what_it_ends_with_is_said(app: ServedApp) -> None:
    app.scale("worker=1")
    app.wait_for_log(r"app\[worker\.1\]: ready")
    app.scale("worker=0")
    app.wait_for_log(r"heroku\[worker\.1\]: Stopping all processes with SIGTERM")
    app.wait_for_log(r"app\[worker\.1\]: heard")
    app.wait_for_log(r"heroku\[worker\.1\]: Process exited with status 3")


def test_what_is_kept_from_it(serve: Boxed, app: ServedApp, level: Level) -> None:
    script = (TOYS / "one_app.py").read_text()
    folder = serve.folder_of(
        serve.own, "blog", procfile={"worker": f"{sys.executable} app.py x"}, files={"app.py": script}
    )
    serve.done("apps:create", "blog", "--dir", str(folder))
    other = serve.known_app("blog")
    other.scale("worker=1")
    other.wait_for_log(r"app\[worker\.1\]: ready")
    app.scale("web=2")
    app.wait_until_up("web.1", "web.2")
    for path in ("readme", "tmp/readme"):
        Path(f"/proc/{serve.pid}/root/{path}").write_text("for everybody\n")
    serve.runtime.chmod(0o755)  # as /run/dynod
    with abstract_socket() as abstract:
        known = {
            "state": str(serve.state / "state.db"),
            "code": str(folder / "Procfile"),
            "file": "/readme",
            "tmp": "/tmp/readme",
            "daemon": serve.pid,
            "control": str(serve.socket),
            "other": other.pids()["worker.1"],
            "siblings": list(app.pids().values()),  # of which it is one itself
            "abstract": abstract,
        }
        found: dict[str, bool] = json.loads(app.get(f"/reach?{urllib.parse.quote(json.dumps(known))}").text)
    if level.isolation != "none":
        assert json.loads(app.get("/elsewhere").text) == {"folders": [], "capabilities": []}
    app.get("/facts")
    app.scale("web=1")
    app.wait_until_up("web.1")
    app.restart(dyno="web.1")
    app.wait()
    found["written"] = json.loads(app.get("/facts").text)["written before"]
    column = COLUMNS.index(level.isolation)
    expected = {name: columns[column] for name, (_, columns) in REACHED.items()}
    if not landlock.has_scopes():
        for name in NEEDS_SCOPES:
            del found[name], expected[name]
    assert found == expected


def test_readme_has_the_same_table() -> None:
    words = {True: "yes", False: "no"}
    rows = [f"| {text} | {' | '.join(words[each] for each in can)} |" for text, can in REACHED.values()]
    head = f"| A dyno | {' | '.join(f'`{name}`' for name in COLUMNS)} |"
    readme = (REPOSITORY / "README.md").read_text()
    assert "\n".join([head, "|---" * 4 + "|", *rows, ""]) in readme
