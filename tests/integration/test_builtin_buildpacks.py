"""The built-in buildpacks, each as the build starts it, on small apps with the languages' own tools.

Packages come from indexes on loopback that count what is asked of them.
"""

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from dynod.builds.stack_probe import found_versions
from dynod.core.slug_manifest import read_interpreters
from support.counts import rounds
from support.package_index import PackageIndex, package_index
from support.source_tree import REPOSITORY

PEERS: Final = REPOSITORY / "tests/.peers"
PATH: Final = f"/usr/local/bin:/usr/bin:/bin:{PEERS}/usr/bin:{PEERS}/usr/lib/go/bin"
MANAGE: Final = """\
import os, pathlib, sys
import django
if sys.argv[1] == "help":
    if "collectstatic" in sys.argv or "--commands" in sys.argv:
        print("collectstatic" if os.environ.get("STATIC_APP") != "off" else "migrate")
        sys.exit(os.environ.get("STATIC_APP") == "off" and "collectstatic" in sys.argv)
assert sys.argv[1:3] == ["collectstatic", "--noinput"], sys.argv
if "SECRET_KEY" not in os.environ:
    raise KeyError("SECRET_KEY")
pathlib.Path("staticfiles").mkdir()
print("Copying '/somewhere/app.css'")
print("1 static file copied")
"""


@dataclass
class Build:
    """BUILD_DIR, CACHE_DIR and ENV_DIR, and the environment of a build."""

    root: Path
    config_vars: dict[str, str] = field(default_factory=dict)
    number: int = 0

    def source(self, files: Mapping[str, str]) -> Path:
        """A new BUILD_DIR with these files; CACHE_DIR stays."""
        self.number += 1
        build = self.root / f"build_{self.number}"
        for path, text in files.items():
            (build / path).parent.mkdir(parents=True, exist_ok=True)
            (build / path).write_text(text)
        return build

    def run(self, pack: str, script: str, build: Path, *, status: int = 0, **more: str) -> str:
        """Run one script as the build does, and return what it printed."""
        env_dir, pack_dir = self.root / "env", self.root / "pack"
        shutil.rmtree(env_dir, ignore_errors=True)
        for folder in (env_dir, pack_dir):
            folder.mkdir(exist_ok=True)
        for name, value in self.config_vars.items():
            (env_dir / name).write_text(value)
        environment = {"PATH": PATH, "HOME": "/app", "LANG": "C.UTF-8", "PIP_CONFIG_FILE": "/dev/null"}
        environment |= {"DYNOD_BUILDPACK_DIR": str(pack_dir), **more}
        arguments = [build, *([self.root / "cache", env_dir] if script == "compile" else [])]
        done = subprocess.run(
            [sys.executable, "-m", "dynod.builds.packs", pack, script, *map(str, arguments)],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def export(self) -> str:
        return (self.root / "pack/export").read_text()


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(root=tmp_path)


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    with package_index() as made:
        yield made


def started(build: Path, *command: str, **more: str) -> str:
    """What a command prints in a dyno of the built folder: `.profile.d` first, HOME where the folder is now."""
    script = 'for each in .profile.d/*.sh; do . "./$each"; done; exec "$@"'
    return subprocess.run(
        ["bash", "-c", script, "bash", *command],
        cwd=build,
        env={"PATH": PATH, "HOME": str(build), **more},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def noted(build: Build, name: str) -> str:
    """The program of the one interpreter that the slug's manifest gets, with the version that it says itself."""
    (interpreter,) = set(read_interpreters((build.root / "pack/interpreters").read_text()))
    assert interpreter.name == name
    assert found_versions([interpreter]) == {interpreter.path: interpreter.version}
    return Path(interpreter.path).name


def no_link_leads_out(folder: Path) -> bool:
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    return all(not x.readlink().is_absolute() and x.resolve().is_relative_to(folder.resolve()) for x in links)


MINOR: Final = f"{sys.version_info.major}.{sys.version_info.minor}"


def python_app(index: PackageIndex, **files: str) -> dict[str, str]:
    index.add_wheel("greeting", "1.0", {"greeting.py": "def main(): print('hello')\n"}, scripts="greet = greeting:main")
    index.add_wheel("django", "5.0", {"django/__init__.py": ""})
    return {"requirements.txt": "greeting==1.0\n", ".python-version": MINOR, **files}


@pytest.fixture(scope="module")
def python_build(tmp_path_factory: pytest.TempPathFactory, index: PackageIndex) -> Build:
    """One cache for all Python apps: pip is put into it once."""
    made = Build(root=tmp_path_factory.mktemp("python"))
    made.config_vars = {"PIP_INDEX_URL": f"{index.url}/simple/", "PATH": "/nowhere"}
    return made


def tree(folder: Path) -> dict[str, str]:
    """Every file's content and every link's target, by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_a_python_app_runs_where_it_was_not_built(python_build: Build, index: PackageIndex) -> None:
    """From a private index that a config var names, as add-ons for private packages have it."""
    build = python_build.source(python_app(index))
    (python_build.root / "cache/python/key").unlink(missing_ok=True)  # another test may have built the same
    said = python_build.run("heroku/python", "compile", build)
    assert f"-----> Using Python {MINOR}" in said
    assert "-----> Installing from requirements.txt with pip" in said
    assert str(build) in python_build.export()
    moved = build.rename(python_build.root / "released")
    assert started(moved, "greet") == "hello\n"
    prefix = started(moved, "python", "-c", "import sys; print(sys.prefix, sys.executable)").split()
    assert prefix == [f"{moved}/.heroku/python", f"{moved}/.heroku/python/bin/python"]
    assert no_link_leads_out(moved)
    assert python_build.run("heroku/python", "release", moved) == "--- {}\n"


def test_what_was_installed_once_is_used_again_and_fetches_nothing(python_build: Build, index: PackageIndex) -> None:
    app = python_app(index)
    first = python_build.source(app)
    python_build.run("heroku/python", "compile", first)
    asked = len(index.asked)
    second = python_build.source(app)
    assert "Using what was installed before" in python_build.run("heroku/python", "compile", second)
    assert len(index.asked) == asked
    assert tree(first) == tree(second)


def test_equal_sources_make_equal_environments_and_none_remembers_its_build(
    python_build: Build, index: PackageIndex
) -> None:
    """Bytecode too: installed twice, in folders of different names."""
    first, second = (python_build.source(python_app(index)) for _ in range(2))
    python_build.run("heroku/python", "compile", first)
    (python_build.root / "cache/python/key").unlink()
    assert "Installing from" in python_build.run("heroku/python", "compile", second)
    assert tree(first) == tree(second)
    assert [p for p in first.rglob("*") if p.is_file() and str(first).encode() in p.read_bytes()] == []


def test_a_package_that_is_asked_for_no_more_is_gone(python_build: Build, index: PackageIndex) -> None:
    both = {"requirements.txt": "greeting==1.0\ndjango==5.0\n"}
    app = python_app(index)
    python_build.run("heroku/python", "compile", python_build.source({**app, **both, "manage.py": MANAGE}), status=1)
    build = python_build.source(app)
    python_build.run("heroku/python", "compile", build)
    assert not list(build.glob(".heroku/python/lib/python3*/site-packages/django"))


@pytest.mark.parametrize(
    ("config_vars", "static_app", "status", "words"),
    [
        (
            {"SECRET_KEY": "x"},
            "",
            0,
            "-----> $ python site/manage.py collectstatic --noinput|       1 static file copied",
        ),
        ({}, "", 1, "KeyError: 'SECRET_KEY'| !     python site/manage.py collectstatic --noinput failed"),
        ({}, "", 1, " !       dynod config:set DISABLE_COLLECTSTATIC=1"),
        ({"DISABLE_COLLECTSTATIC": "1"}, "", 0, "DISABLE_COLLECTSTATIC is set"),
        ({}, "off", 0, "staticfiles is not among INSTALLED_APPS"),
    ],
)
def test_djangos_static_files_are_collected_as_on_heroku(
    python_build: Build, index: PackageIndex, *, config_vars: dict[str, str], static_app: str, status: int, words: str
) -> None:
    app = python_app(index, **{"requirements.txt": "django==5.0\n", "site/manage.py": MANAGE, "a/b/manage.py": "!"})
    plain = python_build.config_vars
    python_build.config_vars = {**plain, **config_vars}
    try:
        build = python_build.source(app)
        said = python_build.run("heroku/python", "compile", build, status=status, STATIC_APP=static_app)
    finally:
        python_build.config_vars = plain
    assert [word for word in words.split("|") if word not in said] == []
    assert "Copying" not in said
    assert (build / "staticfiles").is_dir() is ("SECRET_KEY" in config_vars)


def test_a_python_that_is_not_there_is_named_and_no_other_used(python_build: Build, index: PackageIndex) -> None:
    build = python_build.source({**python_app(index), ".python-version": "3.99"})
    said = python_build.run("heroku/python", "compile", build, status=1)
    assert " !     Python 3.99 is asked for by .python-version, and this machine has" in said
    assert not (build / ".heroku").exists()


# Node.js


@pytest.mark.skipif(shutil.which("npm", path=PATH) is None and not os.environ.get("CI"), reason="needs npm")
def test_a_node_app_is_built_pruned_and_built_again_from_what_was_kept(build: Build, index: PackageIndex) -> None:
    index_url = f"{index.url}/npm/"
    packages = {
        f"node_modules/{name}": {
            "version": "1.0.0",
            "integrity": index.add_npm(name, "1.0.0", {"index.js": text}),
            **more,
        }
        for name, text, more in (
            ("greeting", "module.exports = 'hello'", {}),
            ("bundler", "require('fs').writeFileSync('built.txt', require('greeting'))", {"dev": True}),
        )
    }
    wanted = {"dependencies": {"greeting": "1.0.0"}, "devDependencies": {"bundler": "1.0.0"}}
    package = {"name": "app", "version": "1.0.0", **wanted, "engines": {"node": ">=16"}}
    package |= {"scripts": {"start": "node -p \"require('greeting')\"", "build": "node -e \"require('bundler')\""}}
    lock = {"name": "app", "version": "1.0.0", "lockfileVersion": 3, "requires": True}
    lock |= {"packages": {"": {"name": "app", "version": "1.0.0", **wanted}, **packages}}
    files = {"package.json": json.dumps(package), "package-lock.json": json.dumps(lock)}
    build.config_vars = {"NPM_CONFIG_REGISTRY": index_url}
    first = build.source(files)
    said = build.run("heroku/nodejs", "compile", first)
    assert "(engines.node asks for >=16)" in said
    assert "-----> Running the script build" in said
    assert (first / "built.txt").read_text() == "hello"
    assert sorted(p.name for p in first.glob("node_modules/[a-z]*")) == ["greeting"]
    asked = len(index.asked)
    second = build.source(files)
    assert "Using the node_modules of before" in build.run("heroku/nodejs", "compile", second)
    assert index.asked[asked:] == []
    assert (second / "built.txt").read_text() == "hello"
    assert started(second, "npm", "start", "--silent") == "hello\n"
    assert started(second, "node", "-p", "process.env.NODE_ENV") == "production\n"
    assert build.run("heroku/nodejs", "release", second) == '---\ndefault_process_types:\n  web: "npm start"\n'
    assert noted(build, "Node.js") == "node"


@pytest.mark.skipif(shutil.which("node", path=PATH) is None and not os.environ.get("CI"), reason="needs Node.js")
def test_a_build_script_that_fails_fails_the_build(build: Build) -> None:
    package = {"scripts": {"build": "node -e \"console.log('before'); process.exit(3)\""}}
    said = build.run("heroku/nodejs", "compile", build.source({"package.json": json.dumps(package)}), status=1)
    assert "       before\n" in said
    assert " !     The script build of package.json failed" in said
    package = {"engines": {"node": "99.x"}}
    said = build.run("heroku/nodejs", "compile", build.source({"package.json": json.dumps(package)}), status=1)
    assert " !     Node.js 99.x is asked for by engines.node of package.json, and this machine has" in said


# Static sites

SITE: Final = {
    "static.json": json.dumps(
        {
            "root": "dist/",
            "clean_urls": True,
            "error_page": "oops.html",
            "routes": {"/shop/**": "index.html"},
            "redirects": {"/old": {"url": "/new", "status": 302}},
            "headers": {"/assets/**": {"Cache-Control": "max-age=60"}},
        }
    ),
    "secret.txt": "not for you",
    "dist/index.html": "<h1>start</h1>",
    "dist/about.html": "about",
    "dist/oops.html": "nothing here",
    "dist/.env": "SECRET=1",
    "dist/assets/app.js": "let a = 1",
    "dist/docs/index.html": "docs",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HTTPConnection, "subprocess.Popen[str]"]]:
    """The server of a compiled site, in its own process, and a connection to it."""
    build = Build(root=tmp_path_factory.mktemp("static"))
    folder = build.source(SITE)
    (folder / "dist/out").symlink_to("../secret.txt")
    assert "Serving the files of dist" in build.run("static", "compile", folder)
    command = build.run("static", "release", folder).rpartition('web: "')[2].rstrip('"\n').split()
    port = _free_port()
    with subprocess.Popen(
        command, cwd=folder, env={"PATH": PATH, "PORT": str(port)}, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == f"Serving the site on port {port}\n"
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            yield connection, server
        finally:
            connection.close()
            server.terminate()
    assert server.returncode == 0


BUSY: Final = rounds(5, full=50)  # times that a site is ended in the midst of connections


def test_a_static_site_ends_on_sigterm_whatever_it_is_doing(tmp_path: Path) -> None:
    """A signal comes anywhere: also where a connection is being handled, which swallows what is raised there."""
    beside = tmp_path / ".heroku/static"
    beside.mkdir(parents=True)
    shutil.copy(REPOSITORY / "dynod/builds/packs/static_server.py", beside / "server.py")
    (beside / "settings.json").write_text('{"root": "."}')
    (tmp_path / "index.html").write_text("<h1>start</h1>")
    command = [sys.executable, ".heroku/static/server.py"]
    for _ in range(BUSY):
        port = _free_port()
        with (
            subprocess.Popen(
                command, cwd=tmp_path, env={"PORT": str(port)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as server,
            contextlib.ExitStack() as clients,
        ):
            assert server.stdout is not None
            assert server.stdout.readline() == b"Serving the site on port %d\n" % port
            for _ in range(8):
                client = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
                client.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            server.terminate()
            try:
                _, complaints = server.communicate(timeout=20)
            finally:
                server.kill()
            assert (server.returncode, complaints) == (0, b"")


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/", 200, "<h1>start</h1>"),
        ("HEAD", "/", 200, ""),
        ("GET", "/index.html?x=1", 200, "<h1>start</h1>"),
        ("GET", "/about", 200, "about"),
        ("GET", "/about.html", 200, "about"),
        ("GET", "/docs/", 200, "docs"),
        ("GET", "/docs", 301, "Moved Permanently\n"),
        ("GET", "/shop/cart/1", 200, "<h1>start</h1>"),
        ("GET", "/assets/app.js", 200, "let a = 1"),
        ("GET", "/nowhere", 404, "nothing here"),
        ("GET", "/old", 302, "Found\n"),
        ("GET", "/../secret.txt", 404, "nothing here"),
        ("GET", "/%2e%2e/secret.txt", 404, "nothing here"),
        ("GET", "/assets/..%2f..%2fsecret.txt", 404, "nothing here"),
        ("GET", "/out", 404, "nothing here"),
        ("GET", "/.env", 404, "nothing here"),
        ("GET", "/a%00b", 404, "nothing here"),
        ("GET", "/" + "a" * 5000, 404, "nothing here"),
        ("POST", "/", 501, None),
    ],
)
def test_a_static_site_answers_with_its_files_and_nothing_else(
    site: tuple[HTTPConnection, "subprocess.Popen[str]"], method: str, path: str, status: int, body: str | None
) -> None:
    connection, _ = site
    connection.request(method, path)
    with connection.getresponse() as answer:
        content = answer.read().decode()
        assert (answer.status, content if body is not None else None) == (status, body)
        assert answer.headers["Location"] == {"/docs": "/docs/", "/old": "/new"}.get(path)


def test_a_static_site_says_when_nothing_has_changed(site: tuple[HTTPConnection, "subprocess.Popen[str]"]) -> None:
    connection, _ = site

    def get(**headers: str) -> tuple[int, bytes, dict[str, str]]:
        connection.request("GET", "/assets/app.js", headers={k.replace("_", "-"): v for k, v in headers.items()})
        with connection.getresponse() as answer:
            return answer.status, answer.read(), dict(answer.headers)

    status, content, headers = get()
    assert (status, content, headers["Cache-Control"]) == (200, b"let a = 1", "max-age=60")
    assert headers["Content-Type"].endswith("javascript; charset=utf-8")
    assert get(If_None_Match=headers["ETag"])[:2] == (304, b"")
    assert get(If_None_Match=f'"other", W/{headers["ETag"]}')[0] == 304
    assert get(If_None_Match='"other"', If_Modified_Since=headers["Last-Modified"])[0] == 200
    assert get(If_Modified_Since=headers["Last-Modified"])[0] == 304
    assert get(If_Modified_Since="Sun, 06 Nov 1994 08:49:37 GMT")[0] == 200
    assert get(If_Modified_Since="yesterday")[0] == 200


@pytest.mark.parametrize("text", ["[]", "{", '{"root": 1}', '{"root": "missing"}', '{"root": "../"}', '{"routes": []}'])
def test_a_static_json_that_means_nothing_is_refused(build: Build, text: str) -> None:
    assert " !     static.json" in build.run("static", "compile", build.source({"static.json": text}), status=1)


# Go, Ruby, PHP: with Debian's toolchains


def needs(program: str) -> None:
    """In CI all of them are there: `make test-tools` sees to it."""
    if shutil.which(program, path=PATH) is None:
        assert not os.environ.get("CI"), f"{program} is missing: make test-tools"
        pytest.skip(f"needs {program}: make test-tools, or apt-get install it")


GO_MAIN: Final = 'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("hello " + os.Args[1] + "\\n") }\n'


def test_a_go_app_becomes_a_program(build: Build) -> None:
    needs("go")
    files = {"go.mod": "module example.com/hello\n\ngo 1.18\n", "main.go": GO_MAIN, "cmd/job/main.go": GO_MAIN}
    first = build.source({**files, "lib/lib.go": "package lib\n"})
    assert "(go.mod asks for 1.18 or newer)" in build.run("heroku/go", "compile", first)
    assert started(first, "bin/hello", "go") == "hello go\n"
    assert started(first, "job", "x") == "hello x\n"
    assert build.run("heroku/go", "release", first) == '---\ndefault_process_types:\n  web: "bin/hello"\n'
    assert not (build.root / "pack/interpreters").exists()  # what Go has built needs no Go
    second = build.source(files)
    build.run("heroku/go", "compile", second)
    assert tree(first / "bin") == tree(second / "bin")
    newer = build.source({**files, "go.mod": "module example.com/hello\n\ngo 1.99\n"})
    assert "go.mod asks for 1.99 or newer" in build.run("heroku/go", "compile", newer, status=1)
    broken = build.source({**files, "main.go": "package main\nfunc main() { nothing() }\n"})
    said = build.run("heroku/go", "compile", broken, status=1)
    assert "undefined: nothing" in said
    assert " !     go build failed" in said


def test_a_ruby_app_gets_its_gems(build: Build) -> None:
    """Vendored ones: the registry of gems is not asked."""
    needs("ruby")
    needs("bundle")
    gem = build.source({"lib/greeting.rb": "module Greeting; TEXT = 'hello'; end\n", "greeting.gemspec": GEMSPEC})
    subprocess.run(["gem", "build", "greeting.gemspec"], cwd=gem, capture_output=True, check=True)
    files = {
        "Gemfile": "source 'https://rubygems.org'\nruby '>= 2.7'\ngem 'greeting', '1.0.0'\n",
        "Gemfile.lock": GEMFILE_LOCK,
        "app.rb": "require 'bundler/setup'\nrequire 'greeting'\nputs Greeting::TEXT, ENV['RACK_ENV']\n",
        "config.ru": "run ->(env) { [200, {}, []] }\n",
    }
    app = build.source(files)
    (app / "vendor/cache").mkdir(parents=True)
    shutil.copyfile(gem / "greeting-1.0.0.gem", app / "vendor/cache/greeting-1.0.0.gem")
    said = build.run("heroku/ruby", "compile", app)
    assert "(Gemfile asks for >= 2.7)" in said
    assert noted(build, "Ruby") == "ruby"
    moved = app.rename(build.root / "released")
    assert started(moved, "ruby", "app.rb") == "hello\nproduction\n"
    assert started(moved, "bundle", "exec", "ruby", "app.rb") == "hello\nproduction\n"
    assert "bundle exec rackup config.ru" in build.run("heroku/ruby", "release", moved)
    other = build.source({**files, "Gemfile": files["Gemfile"].replace(">= 2.7", "99.1")})
    assert "and Gemfile asks for 99.1" in build.run("heroku/ruby", "compile", other, status=1)
    assert "bundle lock" in build.run("heroku/ruby", "compile", build.source({"Gemfile": ""}), status=1)


GEMSPEC: Final = """\
Gem::Specification.new do |s|
  s.name = "greeting"; s.version = "1.0.0"; s.summary = "x"; s.authors = ["x"]; s.files = ["lib/greeting.rb"]
end
"""
GEMFILE_LOCK: Final = """\
GEM
  remote: https://rubygems.org/
  specs:
    greeting (1.0.0)

PLATFORMS
  ruby

DEPENDENCIES
  greeting (= 1.0.0)
"""


def test_a_php_app_is_served_by_phps_own_server(build: Build) -> None:
    needs("php")
    app = build.source(
        {
            "composer.json": '{"require": {"php": ">=7.4"}}',
            "web/index.php": "<?php echo 'front ', $_SERVER['REQUEST_URI'];",
            "web/slow.php": "<?php file_get_contents('gate'); echo 'late';",
            "web/style.css": "body {}",
            "web/.env": "SECRET=1",
        }
    )
    os.mkfifo(app / "web/gate")
    said = build.run("heroku/php", "compile", app)
    assert "(composer.json asks for >=7.4)" in said
    assert "The web server is PHP's own" in said
    assert noted(build, "PHP") == "php"
    assert build.run("heroku/php", "release", app).endswith('web: "heroku-php-apache2"\n')
    port = _free_port()
    script = 'for each in .profile.d/*.sh; do . "./$each"; done; exec "$@"'
    with subprocess.Popen(
        ["bash", "-c", script, "bash", "vendor/bin/heroku-php-apache2", "-C", "apache.conf", "web/"],
        cwd=app,
        env={"PATH": PATH, "HOME": str(app), "PORT": str(port), "PHP_CLI_SERVER_WORKERS": "2"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            while "started" not in next(line for line in server.stderr if "Development Server" in line):
                pass
            for path, status, body in (
                ("/", 200, "front /"),
                ("/some/page?x=1", 200, "front /some/page?x=1"),
                ("/style.css", 200, "body {}"),
                ("/.env", 404, "Not found\n"),
            ):
                connection = HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("GET", path)
                with connection.getresponse() as answer:
                    assert (answer.status, answer.read().decode()) == (status, body)
                connection.close()
            connection = HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/slow.php")
            with (app / "web/gate").open("w"):  # which it has opened, too
                os.killpg(server.pid, signal.SIGTERM)  # as a dyno is asked to end
            with connection.getresponse() as answer:
                assert answer.read() == b"late", "what is under way when SIGTERM comes is answered"
            connection.close()
            assert server.wait(20) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.stderr.read()
    other = build.source({"composer.json": '{"require": {"php": "^99.0"}}'})
    assert "composer.json asks for ^99.0" in build.run("heroku/php", "compile", other, status=1)


# Aptfile


def test_an_aptfiles_packages_are_unpacked_into_the_slug(build: Build, index: PackageIndex) -> None:
    """From an archive by its URL, and from a repository of packages, by apt-get and as nobody special."""
    needs("apt-get")
    needs("dpkg-deb")
    archives = {}
    for name, more in (("greeting", "Depends: greeting-data\n"), ("greeting-data", ""), ("plain", "")):
        package = build.source(
            {
                "DEBIAN/control": f"Package: {name}\nVersion: 2:1.0\nArchitecture: all\nMaintainer: x <x@y>\n{more}"
                "Description: x\n",
                f"usr/share/{name}/text": f"hello from {name}\n",
                f"usr/bin/{name}": f'#!/bin/sh\ncat "$HOME/.apt/usr/share/{name}/text"\n',
            }
        )
        (package / f"usr/bin/{name}").chmod(0o755)
        (package / f"usr/share/{name}/inside").symlink_to(f"/usr/share/{name}/text")
        (package / f"usr/share/{name}/outside").symlink_to("/etc/passwd")
        archives[name] = build.root / f"{name}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-b", package, archives[name]], capture_output=True, check=True
        )
    repository = build.root / "repository"
    repository.mkdir()
    entries = []
    for name in ("greeting", "greeting-data"):
        content = archives[name].read_bytes()
        (repository / f"{name}_1.0_all.deb").write_bytes(content)
        control = subprocess.run(["dpkg-deb", "-f", archives[name]], capture_output=True, text=True, check=True).stdout
        size = f"Size: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        entries.append(f"{control}Filename: ./{name}_1.0_all.deb\n{size}")
    (repository / "Packages.gz").write_bytes(gzip.compress("\n".join(entries).encode()))
    index.files["/plain.deb"] = ("application/octet-stream", archives["plain"].read_bytes())
    alone = build.root / "apt.conf"  # no other sources: those of this machine would be fetched
    alone.write_text(f'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "{build.root}/none";\n')
    (build.root / "none").mkdir()
    lines = ["# what we need", f":repo:deb [trusted=yes] copy:{repository} ./", "greeting", f"{index.url}/plain.deb"]
    for _ in range(2):  # the second time everything is in the cache already
        app = build.source({"Aptfile": "\n".join(lines)})
        said = build.run("heroku-community/apt", "compile", app, APT_CONFIG=str(alone))
        for name in ("greeting", "greeting-data", "plain"):
            assert f"-----> Unpacking {name}\n" in said
            assert started(app, name) == f"hello from {name}\n"
            assert (app / f".apt/usr/share/{name}/inside").read_text() == f"hello from {name}\n"
            assert not os.path.lexists(app / f".apt/usr/share/{name}/outside")
        assert no_link_leads_out(app)
    assert f"{app}/.apt/usr/bin" in build.export()
    assert "apt-get could not fetch" in build.run(
        "apt", "compile", build.source({"Aptfile": f"{lines[1]}\nnot-there\n"}), status=1, APT_CONFIG=str(alone)
    )


# What all of them have


def test_what_is_recognised_and_not_built_says_what_to_do(build: Build) -> None:
    app = build.source({"pom.xml": "<project/>"})
    assert build.run("heroku/java", "detect", app) == "Java\n"
    said = build.run("heroku/java", "compile", app, status=1)
    assert (
        " !     set Heroku's buildpack for it:  dynod buildpacks:set https://github.com/heroku/heroku-buildpack-java"
        in said
    )


def test_detection_says_what_the_app_is_or_what_it_would_have_to_have(build: Build) -> None:
    app = build.source({"Procfile": "web: bin/server\n"})
    assert build.run("procfile", "detect", app) == "Procfile\n"
    assert "(web)" in build.run("procfile", "compile", app)
    assert build.run("python", "detect", app, status=1).startswith("no: this is for an app with requirements.txt or ")
    assert "There is no built-in buildpack cobol" in build.run("cobol", "detect", app, status=1)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
