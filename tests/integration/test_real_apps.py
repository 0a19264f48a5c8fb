"""Real apps, deployed from their lock files by the built-in buildpacks with packages from the registries, and served.

One `dynod serve` for all of them. Those with packages are deployed twice, the second time with nothing fetched; in an
ordinary run one for each kind of tool.
"""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from support.app_folder import TOYS
from support.contained import contained, needs_containers
from support.counts import rounds
from support.git_folder import GitFolder
from support.serve import Serve, ServedApp
from support.source_tree import REPOSITORY

pytestmark = pytest.mark.timeout(300)

APPS: Final = TOYS / "deploy"
PEERS: Final = REPOSITORY / "tests/.peers/usr"
PATH: Final = f"/usr/local/bin:/usr/bin:/bin:{PEERS}/bin:{PEERS}/lib/go/bin"
FETCHES: Final = re.compile(r"Collecting|Downloading|Fetching|Prepared|added \d+ package")

AGAIN: Final = rounds(0, full=1)  # of what others show too


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    toml = f'[dynos]\nsettle_s = 0.5\n\n[builds]\nenv = {{ PATH = "{PATH}" }}\n'
    with Serve(tmp_path_factory.mktemp("machine") / "state", toml=toml) as running:
        running.wait_until_ready()
        yield running


@dataclass
class RealApp:
    """An app, and the folder that it is deployed from."""

    serve: Serve
    app: ServedApp
    folder: Path
    said: str = field(default="")

    def deploy(self) -> str:
        """To the end; what is said."""
        ended = subprocess.run(
            [sys.executable, "-m", "dynod", "deploy", "-a", self.app.name],
            cwd=self.folder,
            env=GitFolder.environment({"DYNOD_SOCKET": str(self.serve.socket)}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\n{self.serve.output}\n" + "\n".join(
            self.app.log()
        )
        return ended.stdout

    def body(self, path: str = "/") -> str:
        """Of an answer, which has to be 200."""
        answer = self.app.get(path)
        assert answer.status == 200, "\n".join(self.app.log())
        return answer.body.decode()


@pytest.fixture
def real(serve: Serve, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealApp]:
    """The app that a test names by `@deployed("NAME")`: a copy of its folder, and nothing configured."""
    made = real_app(serve, request.param, tmp_path)
    yield made
    serve.done("apps:destroy", made.app.name, "--confirm", made.app.name)


def real_app(serve: Serve, name: str, parent: Path) -> RealApp:
    """Created, and not deployed yet."""
    folder = serve.folder_of(parent, name, procfile="", files={})
    marked = (folder / "app.json").read_text()
    shutil.rmtree(folder)
    shutil.copytree(APPS / name, folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    if name == "express":
        shutil.copytree(REPOSITORY / "config/examples/express", folder, dirs_exist_ok=True, ignore=_INSTALLED)
    (folder / "app.json").write_text(marked)
    serve.done("apps:create", f"real-{name}")
    return RealApp(serve, serve.known_app(f"real-{name}"), folder)


_INSTALLED: Final = shutil.ignore_patterns("node_modules", ".dynod")


def deployed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("real", [name], indirect=True)


def needs(program: str) -> None:
    """In CI all of them are there: `make test-tools` sees to it."""
    if shutil.which(program, path=PATH) is None:
        assert not os.environ.get("CI"), f"{program} is missing: make test-tools"
        pytest.skip(f"needs {program}: make test-tools, or apt-get install it")


@deployed("django")
def test_a_django_project_with_static_files_and_a_database(real: RealApp, tmp_path: Path) -> None:
    """Its release command migrates; its style sheet is served under the name that collectstatic has given it."""
    database = tmp_path / "visits.sqlite3"
    real.serve.done("config:set", "SECRET_KEY=x", f"DATABASE={database}", "-a", real.app.name)
    said = real.deploy()
    assert "-----> Python app detected" in said
    assert "-----> $ python manage.py collectstatic --noinput" in said
    assert "Applying sessions.0001_initial... OK" in said
    sheet = re.fullmatch(r"visit 1, (/static/site\.[0-9a-f]+\.css)", real.body())
    assert sheet is not None
    assert real.body(sheet[1]) == "body { color: green }\n"
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM django_session").fetchone() == (1,)
    connection.close()
    again = real.deploy()
    assert "Using what was installed before: requirements.txt and Python are the same" in again
    assert FETCHES.findall(again) == []
    assert real.body().startswith("visit 1, ")


@pytest.mark.skipif(not AGAIN, reason="built once more, for its place: DYNOD_TEST_FULL=1")
def test_a_django_project_in_containers_keeps_its_database_in_storage(tmp_path: Path) -> None:
    """What its release command makes is there for its dynos, each of which has a container and a /tmp of its own."""
    needs_containers()
    builds = f'\n[dynos]\nsettle_s = 0.5\n\n[builds]\nenv = {{ PATH = "{PATH}" }}\n'
    with contained(tmp_path / "state", settings=builds) as serve:
        serve.wait_until_ready()
        real = real_app(serve, "django", tmp_path)
        serve.done("storage:mount", "data:/data", "-a", real.app.name)
        serve.done("config:set", "SECRET_KEY=x", "DATABASE=/data/visits.sqlite3", "-a", real.app.name)
        assert "Applying sessions.0001_initial... OK" in real.deploy()
        sheet = re.fullmatch(r"visit 1, (/static/site\.[0-9a-f]+\.css)", real.body())
        assert sheet is not None
        assert real.body(sheet[1]) == "body { color: green }\n"
        real.app.restart(process_type="web")
        real.app.wait()
        assert real.body().startswith("visit 1, ")
        (kept,) = json.loads(serve.done("storage", "-a", real.app.name, "--json").stdout)
        with contextlib.closing(sqlite3.connect(f"{kept['folder']}/visits.sqlite3")) as connection:
            assert connection.execute("SELECT count(*) FROM django_session").fetchone() == (2,)


@deployed("flask")
def test_a_flask_app_by_pipenv(real: RealApp) -> None:
    assert "-----> Installing from Pipfile.lock with Pipenv" in real.deploy()
    assert real.body() == "hello from flask"
    for _ in range(AGAIN):
        assert FETCHES.findall(real.deploy()) == []
        assert real.body() == "hello from flask"


@deployed("fastapi")
def test_a_fastapi_app_with_two_workers_by_uv(real: RealApp) -> None:
    assert "-----> Installing from uv.lock with uv" in real.deploy()
    assert '"hello":"you"' in real.body("/?name=you")
    assert FETCHES.findall(real.deploy()) == []
    assert '"hello":"fastapi"' in real.body()


@deployed("express")
def test_an_express_app(real: RealApp) -> None:
    needs("npm")
    assert "-----> Node.js app detected" in real.deploy()
    assert real.app.get("/").status == 200
    again = real.deploy()
    assert "Using the node_modules of before: package-lock.json and Node.js are the same" in again
    assert FETCHES.findall(again) == []
    assert real.app.get("/").status == 200


@deployed("two")
def test_an_app_of_two_buildpacks(real: RealApp) -> None:
    """Assets by Node.js, then Python, which starts it."""
    needs("npm")
    real.serve.done("buildpacks:set", "heroku/nodejs", "-a", real.app.name)
    real.serve.done("buildpacks:add", "heroku/python", "-a", real.app.name)
    said = real.deploy()
    assert said.index("-----> Running the script build") < said.index("-----> Installing from requirements.txt")
    assert real.body() == "const day = 86400000;\n"
    for _ in range(AGAIN):
        assert FETCHES.findall(real.deploy()) == []
        assert real.body() == "const day = 86400000;\n"


@deployed("static")
def test_a_static_site(real: RealApp) -> None:
    assert "-----> Static HTML app detected" in real.deploy()
    assert real.body() == "<h1>hello from a file</h1>\n"
    assert real.app.get("/.slug.json").status == 404
    assert real.app.get("/app.json").status == 404


@deployed("go")
def test_a_go_program(real: RealApp) -> None:
    needs("go")
    assert "-----> Go app detected" in real.deploy()
    assert real.body() == "hello from go"


@deployed("ruby")
def test_a_ruby_app_with_a_gem(real: RealApp) -> None:
    needs("ruby")
    needs("bundle")
    assert "-----> Ruby app detected" in real.deploy()
    assert real.body() == "hello from ruby"


@deployed("php")
def test_a_php_app(real: RealApp) -> None:
    needs("php")
    assert "-----> PHP app detected" in real.deploy()
    assert real.body() == "hello from php"
