"""`dynod doctor`: a sound app and apps of others' making have no finding, each mutant of the first has just its own.

The mutants are one edit each; they run side by side, by the function behind the verb, which saves an interpreter each.
The verb itself examines the sound app.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from dynod.builds.packs import php_pack, static_server
from dynod.core import doctor_report
from dynod.core.doctor import Check, Examination, Finding, Verdict
from dynod.core.doctor_time import OUT_OF_TIME
from dynod.doctor.command import examined
from support.app_folder import TOYS, app_folder
from support.counts import rounds
from support.source_tree import REPOSITORY
from support.up import clean_environment, eventually, free_port

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.needs_ability("proc", "netlink", reason="requests in flight and read-only folders are Linux's to show"),
]

SOUND: Final = (TOYS / "doctor" / "app.py").read_text()
WEB: Final = f"{sys.executable} app.py"
AT_ONCE: Final = 4  # mutants
BOUND: Final = 'int(os.environ["PORT"])'
SERVER: Final = 'server = Server(("0.0.0.0", int(os.environ["PORT"])), Handler)'
ENDS: Final = "signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())"
SHORT: Final = {"dynod.toml": "[app]\nboot_timeout_s = 2\ngrace_s = 2\n"}
IN_TMP: Final = 'os.path.join(os.environ["TMPDIR"], '
UPLOAD: Final = 'os.makedirs("uploads", exist_ok=True); open("uploads/last", "w").close()'


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """The sound app with one edit (`was`, `now`) and other files; what is found, and where, in whose words."""

    check: Check
    says: str
    where: str = "web.1"
    was: str = "import os\n"
    now: str = "import os\n"
    files: Mapping[str, str] = field(default_factory=dict)
    dear: bool = False  # waits, or shows what another one shows too: in full alone


MUTANTS: Final = {
    "fixed_port": Mutant(check=Check.PORT, says="and its PORT is 2", was=BOUND, now=str(free_port()), dear=True),
    "loopback_alone": Mutant(check=Check.PORT, says="alone: dynod's router", was='"0.0.0.0"', now='"127.0.0.1"'),
    "never_listens": Mutant(
        check=Check.BOOT,
        says="nothing listened after 2 s; the limit is 2 s (Heroku's R10)",
        was=SERVER,
        now="signal.pause()",
        files=SHORT,
    ),
    "exits_at_boot": Mutant(
        check=Check.BOOT,
        says="before it listened on its PORT",
        was=SERVER,
        now='raise SystemExit("no database")',
        dear=True,
    ),
    "cannot_be_doubled": Mutant(
        check=Check.SECOND,
        says="a second instance does not come up while the first one runs",
        where="web.2",
        was=SERVER,
        now=f'import fcntl\nlock = open({IN_TMP}"lock"), "w")\n'
        f"fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n{SERVER}",
    ),
    "serves_one_at_a_time": Mutant(
        check=Check.SLOW_CLIENTS,
        says="one client that uploads slowly keeps all others waiting",
        was="class Server(ThreadingHTTPServer)",
        now="class Server(HTTPServer)",
    ),
    "keeps_uploads": Mutant(
        check=Check.CODE_FOLDER,
        says="it answers 500 to GET /; it writes uploads/last",
        where="uploads/last",
        was="        self.answer(200)\n\n    def do_POST",
        now=f"        try:\n            {UPLOAD}\n            status = 200\n        except OSError:\n"
        "            status = 500\n        self.answer(status)\n\n    def do_POST",
    ),
    "writes_at_boot": Mutant(
        check=Check.CODE_FOLDER,
        says="it does not come up; it writes uploads/last",
        where="uploads/last",
        was=SERVER,
        now=f"{UPLOAD}\n{SERVER}",
        dear=True,
    ),
    "logs_to_a_file": Mutant(
        check=Check.LOGS,
        says="it logs to log/web.log",
        where="log/web.log",
        was="print(format % args, flush=True)",
        now='os.makedirs("log", exist_ok=True); print(format % args, file=open("log/web.log", "a"), flush=True)',
        dear=True,
    ),
    "logs_beside_the_code": Mutant(
        check=Check.LOGS,
        says="web.log, which nobody can follow",
        where="web.log",
        was=SERVER,
        now=f'import sys\nsys.stdout = open({IN_TMP}"web.log"), "a")\n{SERVER}',
        dear=True,
    ),
    "buffers_its_log": Mutant(
        check=Check.LOGS,
        says="the line about a request came only when the process ended: stdout is buffered",
        was=SERVER,
        now='import sys\nsys.stdout = open(1, "w", 65536, closefd=False)\n'
        f'print = lambda text, flush: sys.stdout.write(text + "\\n")\n{SERVER}',
    ),
    "drops_requests": Mutant(
        check=Check.IN_FLIGHT,
        says="in flight had no answer: SIGTERM ends the process at once",
        was=ENDS,
        now="",
    ),
    "ignores_sigterm": Mutant(
        check=Check.SIGTERM,
        says="it still runs 2 s after SIGTERM, and would be killed (Heroku's R12)",
        was=ENDS,
        now="signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        files=SHORT,
    ),
    "leaves_a_pid_file": Mutant(
        check=Check.SIGKILL,
        says="after SIGKILL its successor is not up",
        where="web.2",
        was=f"{SERVER}\n",
        now=f'mine = {IN_TMP}os.environ["DYNO"])\nopen(mine, "x").close()\n{SERVER}\n'
        "import atexit\natexit.register(os.remove, mine)\n",
    ),
    "a_secret_in_the_code": Mutant(
        check=Check.SECRETS,
        says="an AWS access key (AKIAZ3QW…)",
        where="app.py:9",
        now=f"import os\nKEY = '{'AKIA' + 'Z3QWERTY7UIOPASX'}'\n",
    ),
    "imports_what_it_does_not_ask_for": Mutant(
        check=Check.DEPENDENCIES,
        says="requirements.txt does not declare yaml",
        where="app.py:8",
        was="import os\n",
        now="import yaml, os\n",
    ),
    "a_formation_of_nobody": Mutant(
        check=Check.APP_FILES,
        says="formation.wbe: the Procfile declares no such process type",
        where="app.json line 1",
        files={"app.json": '{"formation": {"wbe": {"quantity": 2}}}'},
    ),
}
NOW: Final = [name for name, mutant in MUTANTS.items() if rounds(0, full=1) or not mutant.dear]


def folder_of(parent: Path, name: str, *, was: str = "", now: str = "", files: Mapping[str, str] | None = None) -> Path:
    assert was in SOUND, was
    text = SOUND.replace(was, now, 1) if was else SOUND
    own = {"app.py": text, "requirements.txt": "# nothing but Python itself\n", **(files or {})}
    return app_folder(parent, name=name, procfile={"web": WEB}, files=own)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Of everything below a folder: when it was changed, and its size."""
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.rglob("*")}


def left_behind() -> set[str]:
    """Scratch folders in the place for temporary files."""
    return {path.name for path in Path(tempfile.gettempdir()).glob("dynod-doctor-*")}


FULL: Final = bool(rounds(0, full=1))
WHOLE_S: Final = 60 if FULL else 16  # that an examination of these may take
SEEN_BY_S: Final = 60 if FULL else 40  # by when it has ended; in CI other tests take their share of the machine
# What gets to no end: an edit, and the check that tells, for which a shorter time is too short.
HANGING: Final[Mapping[str, tuple[str, str, Check]]] = {
    "drips_its_answer": (
        '        body = b"hello',
        (
            '        while True:\n            self.wfile.write(b".")\n            threading.Event().wait(0.2)\n'
            '        body = b"hello'
        ),
        Check.BOOT,
    ),
    "takes_long_to_end": (ENDS, "signal.signal(signal.SIGTERM, signal.SIG_IGN)", Check.SIGTERM),
}


@pytest.fixture(scope="module")
def examinations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Examination]]]:
    """Of all mutants, some at a time."""
    parent = tmp_path_factory.mktemp("mutants")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: pool.submit(
                examined,
                folder_of(parent, name, was=MUTANTS[name].was, now=MUTANTS[name].now, files=MUTANTS[name].files),
                None,
                (),
                release=False,
            )
            for name in NOW
        }


@pytest.mark.parametrize("name", NOW)
def test_a_mutant_is_flagged_by_its_finding_alone(name: str, examinations: Mapping[str, Future[Examination]]) -> None:
    examination = examinations[name].result()
    mutant = MUTANTS[name]
    found = problems(examination)
    assert [finding.check for finding in found] == [mutant.check], found
    assert mutant.says in found[0].what
    assert found[0].where.endswith(mutant.where)
    assert found[0].to_do
    assert examination.took_s <= 60


@pytest.mark.parametrize("name", HANGING)
def test_whatever_hangs_it_ends_in_time_and_says_what_it_did_not_get_to(name: str, tmp_path: Path) -> None:
    was, now, check = HANGING[name]
    folder = folder_of(tmp_path, name, was=was, now=now)
    examination = examined(folder, None, (), release=False, whole_s=WHOLE_S)
    assert examination.took_s <= SEEN_BY_S
    result = next(each for each in examination.results if each.check is check)
    if FULL:
        assert [finding.check for finding in problems(examination)] == [check]
    else:
        assert problems(examination) == [], "a wait that was cut short is no reason for a finding"
        assert result.verdict is Verdict.NOT_CHECKED
        assert result.why.startswith(OUT_OF_TIME)


def problems(examination: Examination) -> list[Finding]:
    return [finding for result in examination.results for finding in result.findings if not finding.note]


def dynod_doctor(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dynod", "doctor", *map(str, arguments)],
        env={**clean_environment(), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_sound_app_passes_every_check_and_is_left_as_it_was(tmp_path: Path) -> None:
    """For people, for programs and for CI; no file of it is touched, and nothing is left running or lying about."""
    folder = folder_of(tmp_path, "sound")
    before = stamps(folder)
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    shown = dynod_doctor(folder, "--json", "--junit", tmp_path / "doctor.xml", TMPDIR=str(scratch))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    document = json.loads(shown.stdout)
    assert document["score"] == {"passed": 12, "checked": 12, "checks": 12}
    assert document["ok"] is True
    assert [check["findings"] for check in document["checks"]] == [[]] * 12
    suite = ET.parse(tmp_path / "doctor.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("12", "0", "0")
    assert stamps(folder) == before
    assert list(scratch.iterdir()) == []
    assert users_of(str(scratch)) == []


def users_of(scratch: str) -> list[int]:
    """Processes whose folder for temporary files lies below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"TMPDIR={scratch}/".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def test_what_is_wrong_is_told_with_what_to_do_and_by_the_exit_status(tmp_path: Path) -> None:
    """Without a web process there is nothing to boot, which fails nothing; a committed .env does."""
    folder = app_folder(tmp_path, procfile={"worker": "true"}, env={"KEY": "a"})
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all of it"]):
        subprocess.run([*git, *words], check=True, env=clean_environment())
    shown = dynod_doctor(folder)
    assert shown.returncode == 1
    lines = shown.stdout.splitlines()
    assert "✗ III. Config             its code holds no secrets" in lines
    assert "    .env: is committed to git, and holds the app's configuration" in lines
    assert any(line.startswith("    → git rm --cached .env") for line in lines)
    assert lines[-1].startswith("2 of 3 checks passed, 1 problem, 9 not checked")


def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the midst of an examination: an app that never listens, and a limit of a minute."""
    folder = folder_of(tmp_path, "waits", was=SERVER, now="signal.pause()")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-m", "dynod", "doctor", str(folder)],
        env={**clean_environment(), "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with child:
        eventually(lambda: len(users_of(str(scratch))) > 2 or None, what="a formation")
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)
    assert child.returncode == 130
    assert users_of(str(scratch)) == []
    assert list(scratch.iterdir()) == []


# --- apps of others' making -------------------------------------------------------------------------------------------


def copied(name: Path, parent: Path) -> Path:
    """An app of the project with what was installed for it, without what it has written since."""
    folder = parent / name.name
    shutil.copytree(name, folder, symlinks=True, ignore=shutil.ignore_patterns(".venv", "node_modules", "*.sqlite3*"))
    for installed in (".venv", "node_modules"):
        if (name / installed).is_dir():
            (folder / installed).symlink_to(name / installed)
    return folder


def assert_sound(examination: Examination) -> None:
    assert problems(examination) == []
    unasked = {result.check: result.why for result in examination.results if result.verdict is Verdict.NOT_CHECKED}
    assert unasked == {}


@pytest.mark.parametrize("example", ["django", "express"])
def test_the_examples_are_sound(example: str, tmp_path: Path) -> None:
    folder = REPOSITORY / "config/examples" / example
    if not any((folder / installed).exists() for installed in (".venv", "node_modules")):
        assert not os.environ.get("CI"), f"nothing is installed for {folder}: make test"
        pytest.skip("not installed: make test")
    assert_sound(examined(copied(folder, tmp_path), None, (), release=example == "django"))


PACKAGES: Final = {
    "flask": ["flask", "gunicorn"],
    "fastapi": ["fastapi", "uvicorn"],
    "django": ["Django", "gunicorn", "whitenoise"],
}


@pytest.mark.skipif(not rounds(0, full=1), reason="packages are installed for each: DYNOD_TEST_FULL=1")
@pytest.mark.parametrize("name", PACKAGES)
def test_apps_on_the_usual_frameworks_and_servers_are_sound(name: str, tmp_path: Path) -> None:
    """Those of `test_real_apps`, as their authors would start them: gunicorn with one worker, uvicorn with two."""
    folder = copied(TOYS / "deploy" / name, tmp_path)
    (folder / ".env").write_text("SECRET_KEY=x\n")
    install(folder, PACKAGES[name])
    assert_sound(examined(folder, None, (), release=False))


def install(folder: Path, packages: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True, timeout=60)
    pip = [str(folder / ".venv/bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *packages], check=True, timeout=240, env=clean_environment())


@pytest.mark.skipif(not rounds(0, full=1), reason="others show as much in CI: DYNOD_TEST_FULL=1")
@pytest.mark.parametrize("pack", ["static", "php"])
def test_what_the_built_in_buildpacks_serve_is_sound(
    pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site of files, and PHP: both by servers of dynod's own choosing."""
    folder = copied(TOYS / "deploy" / pack, tmp_path)
    if pack == "static":
        (folder / "Procfile").write_text("web: python3 .heroku/static/server.py\n")
        placed = {"static/server.py": Path(static_server.__file__).read_text(), "static/settings.json": '{"root": "."}'}
    else:
        unpacked = REPOSITORY / "tests/.peers/usr/bin"
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{unpacked}")
        if shutil.which("php") is None:
            pytest.skip("no PHP here: make test unpacks it on Debian")
        (folder / "Procfile").write_text("web: HOME=. .heroku/php/server web/\n")
        placed = {"php/server": php_pack.SERVER, "php/router.php": php_pack.ROUTER_SCRIPT}
    for name, text in placed.items():
        place = folder / ".heroku" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755)
    assert_sound(examined(folder, None, (), release=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThirdParty:
    """A program of others' as it is in the package index: what to install, and how its documents have it served."""

    packages: Sequence[str]
    web: str
    files: Mapping[str, str] = field(default_factory=dict)
    starter: Sequence[str] = ()  # makes the app's folder, where that is how one begins
    release: str = ""


THIRD_PARTIES: Final = {
    # answers requests as they came; its own Procfile has gunicorn
    "httpbin": ThirdParty(
        packages=["httpbin", "gunicorn", "setuptools<81"], web="gunicorn httpbin:app --bind 0.0.0.0:$PORT"
    ),
    # shows SQLite databases, by uvicorn
    "datasette": ThirdParty(packages=["datasette"], web="datasette --memory -h 0.0.0.0 -p $PORT"),
    # calendars and contacts, by a server of its own on the standard library's
    "radicale": ThirdParty(
        packages=["radicale"],
        web='python -m radicale --config "" --server-hosts 0.0.0.0:$PORT --auth-type none '
        "--storage-filesystem-folder $TMPDIR/collections",
    ),
    # comments below articles, with SQLite
    "isso": ThirdParty(
        packages=["isso", "gunicorn"],
        web="gunicorn -b 0.0.0.0:$PORT isso.run",
        files={".env": "ISSO_SETTINGS=isso.cfg\n", "isso.cfg": "[general]\ndbpath = comments.db\nhost = *\n"},
    ),
    # a package index, on Bottle
    "pypiserver": ThirdParty(
        packages=["pypiserver", "gunicorn"],
        web="pypi-server run -i 0.0.0.0 -p $PORT --server gunicorn packages",
        files={"packages/README": "none yet"},
    ),
    # a CMS on Django, as its starter leaves it and its Dockerfile serves it
    "wagtail": ThirdParty(
        packages=["wagtail", "gunicorn"],
        starter=["wagtail", "start", "mysite", "."],
        web="gunicorn mysite.wsgi:application",
        release="python manage.py migrate --noinput",
    ),
}


@pytest.mark.skipif(not rounds(0, full=1), reason="packages are installed for each: DYNOD_TEST_FULL=1")
@pytest.mark.parametrize("name", THIRD_PARTIES)
def test_programs_of_others_making_are_sound(name: str, tmp_path: Path) -> None:
    party, folder = THIRD_PARTIES[name], tmp_path / name
    folder.mkdir()
    install(folder, party.packages)
    if party.starter:
        program, *words = party.starter
        subprocess.run([folder / ".venv/bin" / program, *words], cwd=folder, check=True, timeout=60)
    else:
        (folder / "requirements.txt").write_text("\n".join(party.packages))
    for file, text in {"Procfile": f"web: {party.web}\n", **party.files}.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    if party.release:
        with (folder / "Procfile").open("a") as procfile:
            procfile.write(f"release: {party.release}\n")
    examination = examined(folder, None, (), release=bool(party.release))
    print(*(line for _, line in doctor_report.lines(examination)), sep="\n")
    assert_sound(examination)
