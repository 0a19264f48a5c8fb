"""Real programs that really fail, in each language that is installed: the log and `ps --why` say why in one line."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dynod.core.failure_cause import Failure, cause_of
from support.app_folder import app_folder
from support.counts import rounds
from support.failing_programs import FAILURES as FAILING
from support.failing_programs import NO_CAUSE, installed, run
from support.installed import found, missing
from support.serve import Serve
from support.up import Up, clean_environment, free_port

pytestmark = pytest.mark.timeout(180)

TAKEN_JAVA = """public class Taken {
  public static void main(String[] a) throws Exception {
    new java.net.ServerSocket(Integer.parseInt(System.getenv("TAKEN")), 5, java.net.InetAddress.getByName("127.0.0.1"));
  }
}
"""
SOME = ["py-variable-said-otherwise", "js-refused-promise", "rb-variable", "php-chained", "java-class", "sh-script"]
SOME += ["no-py-caught-exit-1", "no-js-caught-then-said", "no-rb-caught-exit-1", "no-php-caught-exit-255"]
FILES = {
    "module.py": "import os\nimport no_such_thing\n",
    "env.py": "import os\nprint(os.environ['NO_SUCH_VAR'])\n",
    "taken.py": "import os, socket\nsocket.create_server(('127.0.0.1', int(os.environ['TAKEN'])))\n",
    "syntax.py": "def (:\n",
    "module.js": "require('no-such-thing')\n",
    "taken.js": "require('http').createServer().listen(process.env.TAKEN, '127.0.0.1')\n",
    "module.rb": "require 'no_such_thing'\n",
    "taken.rb": "require 'socket'\nTCPServer.new('127.0.0.1', ENV.fetch('TAKEN').to_i)\n",
    "class.php": "<?php new NoSuchThing();\n",
    "require.php": "<?php require 'vendor/autoload.php';\n",
    "Taken.java": TAKEN_JAVA,
    "not-executable": "#!/bin/sh\n",
}
# Process type: the program that it needs, its command, and what must be said.
FAILURES = {
    "pymodule": ("python3", "python3 module.py", "the module no_such_thing is not installed"),
    "pyenv": ("python3", "python3 env.py", "it needs NO_SUCH_VAR, which is not set"),
    "pytaken": ("python3", "python3 taken.py", "the address that it wants to listen on is in use"),
    "pysyntax": ("python3", "python3 syntax.py", "its code cannot be read: SyntaxError"),
    "pyfile": ("python3", "python3 none.py", "there is no file .*none.py"),
    "segfault": ("python3", 'python3 -c "import os; os.kill(os.getpid(), 11)"', "it crashed in native code"),
    "jsmodule": ("node", "node module.js", "the module no-such-thing is not installed"),
    "jstaken": ("node", "node taken.js", "the address that it wants to listen on is in use"),
    "jsfile": ("node", "node none.js", "there is no file .*none.js"),
    "rbmodule": ("ruby", "ruby module.rb", "Ruby finds no no_such_thing"),
    "rbtaken": ("ruby", "ruby taken.rb", "the address that it wants to listen on is in use"),
    "phpclass": ("php", "php class.php", "PHP finds no class NoSuchThing"),
    "phprequire": ("php", "php require.php", "run composer install"),
    "jclass": ("java", "java -cp . NoSuchThing", "Java finds no class NoSuchThing"),
    "jtaken": ("java", "java Taken.java", "the address that it wants to listen on is in use"),
    "command": ("bash", "true && no-such-command", "there is no command no-such-command"),
    "script": ("bash", "./not-executable || exit 126", "it cannot be run|cannot be run: make it executable"),
    "atonce": ("true", "true", "it ended by itself with status 0"),
}


def test_the_log_says_why_each_of_them_failed(tmp_path: Path) -> None:
    here = {name: row for name, row in FAILURES.items() if found(row[0]) is not None}
    assert {"pymodule", "jsmodule", "command"} <= set(here)
    port = free_port()
    folder = app_folder(tmp_path, procfile={name: row[1] for name, row in here.items()}, files=FILES)
    (folder / "dynod.toml").write_text("[dynos]\nrestart = [300]\n")
    php = found("php")
    path = {"PATH": f"{Path(php).parent}:{clean_environment()['PATH']}"} if php is not None else {}
    with socket.create_server(("127.0.0.1", port)), Up(folder, env={"TAKEN": str(port), **path}) as up:
        for name, (_, _, text) in here.items():
            up.wait_for_line(rf"heroku\[{name}\.1\]: +Cause: .*(?:{text})", timeout_s=90)
        why = subprocess.run(
            [sys.executable, "-m", "dynod", "ps", "--why", "pymodule.1"],
            cwd=folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Cause: the module no_such_thing is not installed for this app" in why.stdout


# A failure and a non-failure of each runtime in CI, all of them in full; their kept outputs are always read.
LIVE = {**FAILING, **NO_CAUSE}
LIVE = {name: LIVE[name] for name in rounds(0, full=1) * sorted(LIVE) or SOME}


@pytest.mark.parametrize("name", LIVE)
def test_what_its_runtime_writes_today_is_understood_as_what_was_kept(tmp_path: Path, name: str) -> None:
    program = LIVE[name]
    if not installed(program):
        missing(program.runtime)
    ended = run(program, tmp_path)
    cause = cause_of(Failure(status=ended.status, lived_s=1.0, lines=ended.lines))
    if program.cause is None:
        assert cause is None, ended
    else:
        assert cause is not None, ended
        assert (cause.name, True) == (program.cause[0], program.cause[1] in cause.text)


def test_a_failed_release_says_why(tmp_path: Path) -> None:
    with Serve(tmp_path / "state", toml="[dynos]\nsettle_s = 0\n") as serve:
        procfile = {
            "worker": "python3 -c \"import os; os.environ.get('OK') or __import__('no_such_thing')\"; sleep 1000"
        }
        procfile["release"] = 'test -z "$BREAK" || python3 -c "import no_such_thing"'
        shop = serve.app(tmp_path, "shop", procfile=procfile)
        assert shop.name == "shop"
        assert serve.dynod("config:set", "BREAK=1").returncode == 1
        failed = json.loads(serve.done("releases:info", "--json").stdout)
        assert "(the module no_such_thing is not installed for this app" in json.dumps(failed)
