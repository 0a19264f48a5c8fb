"""Small programs that really fail, each in a way that people meet, and some that only look as if they had.

Flow: program → its own runtime → output and status → `core.failure_cause`. What they wrote once is kept in
`tests/unit/dynod/core/failure_outputs`, with the runtime's version, so that the unit tests have it where the runtime is
not installed; `python -m support.failing_programs` (in `tests`) writes those files anew.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.installed import found
from support.source_tree import REPOSITORY

KEPT: Final = REPOSITORY / "tests/unit/dynod/core/failure_outputs"
HEAD_ENDS: Final = "---\n"
_CLOSED_PORT: Final = "1"  # nobody listens there


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """`cause`: the rule that has to explain it and a part of what is said; None: nothing may be said."""

    runtime: str
    command: str
    cause: tuple[str, str] | None = None
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one of them has ended; 128+N where a signal N ended it."""

    status: int
    lines: list[str]


def _py(source: str, cause: tuple[str, str] | None = None, command: str = "python3 a.py", **files: str) -> Program:
    return Program(runtime="python3", command=command, cause=cause, files={"a.py": source, **_named(files)})


def _js(source: str, cause: tuple[str, str] | None = None, command: str = "node a.js", **files: str) -> Program:
    return Program(runtime="node", command=command, cause=cause, files={"a.js": source, **_named(files)})


def _rb(source: str, cause: tuple[str, str] | None = None, command: str = "ruby a.rb", **files: str) -> Program:
    return Program(runtime="ruby", command=command, cause=cause, files={"a.rb": source, **_named(files)})


def _php(source: str, cause: tuple[str, str] | None = None, command: str = "php a.php") -> Program:
    return Program(runtime="php", command=command, cause=cause, files={"a.php": f"<?php\n{source}"})


def _java(body: str, cause: tuple[str, str] | None = None, command: str = "java A.java") -> Program:
    source = "import java.util.*;\npublic class A {\n  public static void main(String[] a) throws Exception {\n"
    return Program(runtime="java", command=command, cause=cause, files={"A.java": f"{source}    {body}\n  }}\n}}\n"})


def _sh(command: str, cause: tuple[str, str] | None = None, **files: str) -> Program:
    return Program(runtime="bash", command=command, cause=cause, files=_named(files))


def _named(files: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("__", "."): text for name, text in files.items()}


_WSGI: Final = "def app(environ, start_response):\n    return []\n"
_SERVER_OF: Final = "PYTHONPATH= exec python3 -m"
IN_USE: Final = ("address-in-use", "is in use")
REFUSED: Final = ("connection-refused", "something that it connects to refuses")
MEMORY: Final = ("out-of-memory", "the memory that its runtime allows")
PRIVILEGED: Final = ("permission", "ports below 1024")

FAILURES: Final[Mapping[str, Program]] = {
    # --- Python
    "py-module": _py("import no_such_thing\n", ("missing-module", "the module no_such_thing is not installed")),
    "py-submodule": _py("import xml.nothing\n", ("missing-module", "no module xml.nothing")),
    "py-dash-m": _py("", ("missing-module", "the module no_such_thing"), command="python3 -m no_such_thing"),
    "py-file": _py("", ("missing-file", "there is no file /app/none.py"), command="python3 none.py"),
    "py-variable": _py("import os\nos.environ['DATABASE_URL']\n", ("missing-variable", "it needs DATABASE_URL")),
    "py-variable-said-otherwise": _py(
        "import os\ndef load():\n    try:\n        return os.environ['DATABASE_URL']\n    except KeyError:\n"
        "        raise RuntimeError('no database')\nload()\n",
        ("missing-variable", "it needs DATABASE_URL"),
    ),
    "py-variable-raised-from": _py(
        "import os\ndef load():\n    return os.environ['DATABASE_URL']\ntry:\n    load()\nexcept KeyError as error:\n"
        "    raise RuntimeError('no database') from error\n",
        ("missing-variable", "it needs DATABASE_URL"),
    ),
    "py-taken": _py("import os, socket\nsocket.create_server(('127.0.0.1', int(os.environ['TAKEN'])))\n", IN_USE),
    "py-taken-asyncio": _py(
        "import asyncio, os\nasync def main():\n"
        "    await asyncio.start_server(print, '127.0.0.1', int(os.environ['TAKEN']))\nasyncio.run(main())\n",
        IN_USE,
    ),
    "py-refused": _py("import socket\nsocket.create_connection(('127.0.0.1', 1))\n", REFUSED),
    "py-refused-url": _py("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1/')\n", REFUSED),
    "py-permission": _py(
        "raise PermissionError(13, 'Permission denied', '/var/log/shop')\n", ("permission", "/var/log/shop")
    ),
    "py-memory": _py("bytearray(1 << 62)\n", MEMORY),
    "py-syntax": _py("def (:\n", ("syntax", "SyntaxError")),
    "py-syntax-imported": _py("import b\n", ("syntax", "SyntaxError"), b__py="def (:\n"),
    "py-indentation": _py("if 1:\nprint()\n", ("syntax", "IndentationError")),
    "py-module-after-a-caught-error": _py(
        "import logging\ntry:\n    open('/none')\nexcept OSError:\n    logging.exception('no file yet')\n"
        "import no_such_thing\n",
        ("missing-module", "no_such_thing"),
    ),
    "gunicorn-module": _py(
        "import no_such_thing\n", ("missing-module", "no_such_thing"), f"{_SERVER_OF} gunicorn -b 127.0.0.1:0 a:app"
    ),
    "gunicorn-two-workers": _py(
        "import no_such_thing\n",
        ("missing-module", "no_such_thing"),
        f"{_SERVER_OF} gunicorn -w 2 -b 127.0.0.1:0 a:app",
    ),
    "gunicorn-no-app": _py(
        _WSGI, ("missing-app", "no module nothing"), f"{_SERVER_OF} gunicorn -b 127.0.0.1:0 nothing:app"
    ),
    "gunicorn-no-attribute": _py(
        _WSGI, ("missing-app", "no application in a"), f"{_SERVER_OF} gunicorn -b 127.0.0.1:0 a:application"
    ),
    "gunicorn-taken": _py(_WSGI, IN_USE, f"{_SERVER_OF} gunicorn -b 127.0.0.1:$TAKEN a:app"),
    "uvicorn-module": _py(
        "import no_such_thing\n", ("missing-module", "no_such_thing"), f"{_SERVER_OF} uvicorn --port 0 a:app"
    ),
    "uvicorn-no-app": _py(_WSGI, ("missing-app", "no module nothing"), f"{_SERVER_OF} uvicorn --port 0 nothing:app"),
    "uvicorn-no-attribute": _py(_WSGI, ("missing-app", "no x in a"), f"{_SERVER_OF} uvicorn --port 0 a:x"),
    "uvicorn-taken": _py(_WSGI, IN_USE, f"{_SERVER_OF} uvicorn --port $TAKEN a:app"),
    # --- Node
    "js-module": _js("require('no-such-thing')\n", ("missing-module", "the module no-such-thing is not installed")),
    "js-package-of-a-module": _js(
        "", ("missing-module", "no-such-thing"), "node a.mjs", a__mjs="import x from 'no-such-thing'\n"
    ),
    "js-file-of-a-module": _js("", ("missing-file", "/app/b.mjs"), "node a.mjs", a__mjs="import x from './b.mjs'\n"),
    "js-file": _js("", ("missing-file", "no file /app/none.js"), "node none.js"),
    "js-relative-file": _js("require('./dist/server')\n", ("missing-file", "no file ./dist/server")),
    "js-npm-start": _js(
        "require('no-such-thing')\n",
        ("missing-module", "no-such-thing"),
        "npm start",
        package__json='{"scripts": {"start": "node a.js"}}',
    ),
    "js-taken": _js("require('http').createServer().listen(process.env.TAKEN, '127.0.0.1')\n", IN_USE),
    "js-refused": _js("require('net').connect(1, '127.0.0.1')\n", REFUSED),
    "js-refused-both": _js(
        "require('net').connect({port: 1, host: 'db', autoSelectFamily: true, lookup: (h, o, done) =>\n"
        "  done(null, [{address: '::1', family: 6}, {address: '127.0.0.1', family: 4}])})\n",
        REFUSED,
    ),
    "js-refused-promise": _js(
        "new Promise((ok, no) => require('net').connect(1, '127.0.0.1').on('error', no))\n", REFUSED
    ),
    "js-refused-fetch": _js("fetch('http://127.0.0.1:2/')\n", REFUSED),
    "js-permission": _js(
        "throw Object.assign(new Error(\"EACCES: permission denied, open '/var/log/shop'\"), {code: 'EACCES'})\n",
        ("permission", "/var/log/shop"),
    ),
    "js-memory": _js(
        "const kept = []; for (;;) kept.push(new Array(1e5).fill(1.5))\n",
        MEMORY,
        "node --max-old-space-size=20 a.js",
    ),
    "js-syntax": _js("function (\n", ("syntax", "SyntaxError")),
    "js-after-a-caught-error": _js(
        "try { require('net').connect(-1) } catch (error) { console.error(error) }\nrequire('no-such-thing')\n",
        ("missing-module", "no-such-thing"),
    ),
    # --- Ruby
    "rb-module": _rb("require 'no_such_thing'\n", ("missing-module", "Ruby finds no no_such_thing")),
    "rb-relative": _rb("require_relative 'lib/shop'\n", ("missing-file", "no file /app/lib/shop")),
    "rb-file": _rb("", ("missing-file", "no file none.rb"), "ruby none.rb"),
    "rb-variable": _rb("ENV.fetch('DATABASE_URL')\n", ("missing-variable", "it needs DATABASE_URL")),
    "rb-variable-said-otherwise": _rb(
        "begin\n  ENV.fetch('DATABASE_URL')\nrescue KeyError\n  raise 'no database'\nend\n",
        ("missing-variable", "it needs DATABASE_URL"),
    ),
    "rb-taken": _rb("require 'socket'\nTCPServer.new('127.0.0.1', ENV['TAKEN'].to_i)\n", IN_USE),
    "rb-refused": _rb("require 'socket'\nTCPSocket.new('127.0.0.1', 1)\n", REFUSED),
    "rb-permission": _rb(
        "raise Errno::EACCES, 'bind(2) for \"0.0.0.0\" port 80'\n",
        PRIVILEGED,
    ),
    "rb-syntax": _rb("def (\n", ("syntax", "a.rb:1: syntax error")),
    "rb-syntax-required": _rb("require_relative 'b'\n", ("syntax", "b.rb:1: syntax error"), b__rb="def (\n"),
    "rb-gem": _rb(
        "",
        ("missing-module", "the gem no-such-thing is not installed"),
        "bundle exec ruby a.rb",
        Gemfile="source 'https://rubygems.org'\ngem 'no-such-thing'\n",
    ),
    "rb-no-gemfile": _rb("", ("missing-file", "no Gemfile"), "bundle exec ruby a.rb"),
    "rb-after-a-dead-thread": _rb(
        "Thread.new { raise 'lost' }.join rescue nil\nrequire 'no_such_thing'\n", ("missing-module", "no_such_thing")
    ),
    # --- PHP
    "php-class": _php("new NoSuchThing();\n", ("missing-module", "PHP finds no class NoSuchThing")),
    "php-class-logged": _php(
        "new NoSuchThing();\n",
        ("missing-module", "PHP finds no class NoSuchThing"),
        "php -d display_errors=0 -d log_errors=1 a.php",
    ),
    "php-class-twice": _php(
        "new NoSuchThing();\n",
        ("missing-module", "PHP finds no class NoSuchThing"),
        "php -d display_errors=1 -d log_errors=1 a.php",
    ),
    "php-autoload": _php("require 'vendor/autoload.php';\n", ("missing-module", "run composer install")),
    "php-require": _php("require 'lib/shop.php';\n", ("missing-file", "PHP cannot open lib/shop.php")),
    "php-file": _php("", ("missing-file", "no file artisan"), "php artisan"),
    "php-memory": _php("$kept = []; while (true) { $kept[] = str_repeat('x', 100000); }\n", MEMORY),
    "php-syntax": _php("function (\n", ("syntax", "Parse error")),
    "php-refused": _php(
        "class PDOConnectException extends RuntimeException {}\n"
        "throw new PDOConnectException('SQLSTATE[HY000] [2002] Connection refused');\n",
        REFUSED,
    ),
    "php-taken": _php("", IN_USE, "php -S 127.0.0.1:$TAKEN"),
    "php-chained": _php(
        "try { new NoSuchThing(); } catch (Error $e) { throw new RuntimeException('cannot start', 1, $e); }\n",
        ("missing-module", "NoSuchThing"),
    ),
    # --- Java
    "java-class": _java("", ("missing-module", "Java finds no class com.shop.Main"), "java -cp . com.shop.Main"),
    "java-jar": _java("", ("missing-file", "no jar target/shop.jar"), "java -jar target/shop.jar"),
    "java-reflected-class": _java(
        'Class.forName("org.postgresql.Driver");', ("missing-module", "org.postgresql.Driver")
    ),
    "java-taken": _java(
        'try { new java.net.ServerSocket(Integer.parseInt(System.getenv("TAKEN")), 5, '
        'java.net.InetAddress.getByName("127.0.0.1")); } '
        'catch (Exception e) { throw new RuntimeException("cannot start", e); }',
        IN_USE,
    ),
    "java-refused": _java('new java.net.Socket("127.0.0.1", 1);', REFUSED),
    "java-memory": _java(
        "List<byte[]> kept = new ArrayList<>(); while (true) kept.add(new byte[1 << 20]);",
        MEMORY,
        "java -Xmx20m A.java",
    ),
    "java-memory-ends": _java(
        "List<byte[]> kept = new ArrayList<>(); while (true) kept.add(new byte[1 << 20]);",
        MEMORY,
        "java -Xmx20m -XX:+ExitOnOutOfMemoryError A.java",
    ),
    "java-permission": _java(
        'throw new java.nio.file.AccessDeniedException("/var/log/shop");', ("permission", "/var/log/shop")
    ),
    # --- shells
    "sh-command": _sh("bash -c 'gunicorn-nowhere --bind x'", ("command-not-found", "no command gunicorn-nowhere")),
    "sh-command-of-dash": _sh("sh -c no-such-command", ("command-not-found", "no command no-such-command")),
    "sh-exec": _sh("bash -c 'exec no-such-command'", ("command-not-found", "no command no-such-command")),
    "sh-env": _sh("env no-such-command", ("command-not-found", "no command no-such-command")),
    "sh-script": _sh(
        "bash start.sh", ("command-not-found", "no command no-such-command"), start__sh="no-such-command\n"
    ),
    "sh-npm-binary": _sh(
        "npm run start",
        ("command-not-found", "no command no-such-command"),
        package__json='{"scripts": {"start": "no-such-command"}}',
    ),
    "sh-no-file": _sh("bash -c ./start", ("missing-file", "there is no ./start")),
    "sh-no-interpreter": _sh(
        "chmod +x start; bash -c ./start", ("missing-file", "there is no ./start"), start="#!/no/such/thing\n"
    ),
    "sh-not-executable": _sh("bash -c ./start", ("permission", "./start cannot be run"), start="true\n"),
    "native-crash": _py("import os\nos.kill(os.getpid(), 11)\n", ("native-crash", "native code")),
    "aborted": _py("import os\nos.abort()\n", ("aborted", "abort()")),
    "at-once": _sh("true", ("exits-at-once", "status 0")),
}

# Of programs that the project does not install: what they wrote once is all that there is, with their versions.
KEPT_ALONE: Final[Mapping[str, tuple[str, str]]] = {
    "kept-redis-refused": REFUSED,
    "kept-psycopg2-refused": REFUSED,
    "kept-psycopg-refused": REFUSED,
    "kept-sqlalchemy-refused": REFUSED,
    "kept-requests-refused": REFUSED,
    "kept-django-without-a-driver": ("missing-module", "the module psycopg2 is not installed"),
    "kept-flask-taken": IN_USE,
    "kept-runserver-taken": IN_USE,
    "kept-nginx-taken": IN_USE,
}

_PY_LOGGED: Final = "import logging, os, socket, sys, time\n"
_PY_CAUGHT: Final = (
    f"{_PY_LOGGED}try:\n    socket.create_connection(('127.0.0.1', 1))\n"
    "except OSError:\n    logging.exception('again in 1 s')\n"
)
_JS_CAUGHT: Final = "try { require('no-such-thing') } catch (error) { console.error(error) }\n"
_RB_CAUGHT: Final = "begin\n  require 'no_such_thing'\nrescue LoadError => error\n  warn error.full_message\nend\n"
_PHP_CAUGHT: Final = "try { new NoSuchThing(); } catch (Error $e) { echo $e, PHP_EOL; }\n"
_JAVA_CAUGHT: Final = 'try { Class.forName("no.Such"); } catch (Exception e) { e.printStackTrace(); } '
_SERVED: Final = "print('GET /errors?q=Address+already+in+use 200', flush=True)\n"

NO_CAUSE: Final[Mapping[str, Program]] = {
    # --- Python: what was caught and logged, then an end that has another reason
    "no-py-caught-exit-0": _py(f"{_PY_CAUGHT}print('connected')\nsys.exit(0)\n", ("exits-at-once", "status 0")),
    "no-py-caught-exit-1": _py(f"{_PY_CAUGHT}print('connected')\nsys.exit(1)\n"),
    "no-py-caught-exit-message": _py(f"{_PY_CAUGHT}sys.exit('the licence has run out')\n"),
    "no-py-caught-killed": _py(f"{_PY_CAUGHT}os.kill(os.getpid(), 9)\n"),
    "no-py-caught-terminated": _py(f"{_PY_CAUGHT}os.kill(os.getpid(), 15)\n"),
    "no-py-caught-exit-3": _py(f"{_PY_CAUGHT}sys.exit(3)\n"),
    "no-py-caught-other-error": _py(f"{_PY_CAUGHT}raise ValueError('a price below 0')\n"),
    "no-py-request-log": _py(f"{_SERVED}raise SystemExit(1)\n"),
    "no-py-words-only": _py("print('ModuleNotFoundError: No module named \\'x\\'')\nraise SystemExit(1)\n"),
    "no-py-key-of-a-dict": _py("prices = {}\nprices['USD']\n"),
    "no-py-fallback-failed": _py(
        "import os\ndef other():\n    raise ValueError('no such store')\n"
        "try:\n    os.environ['CACHE_URL']\nexcept KeyError:\n    other()\n"
    ),
    "no-py-thread-died": _py(
        "import threading\nthread = threading.Thread(target=__import__, args=('no_such_thing',))\n"
        "thread.start()\nthread.join()\nprint('without it')\nraise SystemExit(1)\n"
    ),
    "no-py-child-failed": _py(
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import no_such_thing'])\n"
        "print('optional part is off')\nsys.exit(1)\n"
    ),
    "no-py-warning": _py("import warnings\nwarnings.warn('Connection refused')\nraise SystemExit(1)\n"),
    "no-py-message-that-quotes": _py('raise ValueError("upstream said: Connection refused")\n'),
    "no-py-memory-in-a-name": _py("raise RuntimeError('MemoryError')\n"),
    "no-py-syntax-of-sql": _py("raise RuntimeError('SyntaxError: near FROM')\n"),
    "no-py-atexit-after-it": _py(
        "import atexit, sys\natexit.register(lambda: print('3 jobs lost', file=sys.stderr))\nimport no_such_thing\n"
    ),
    # --- Node
    "no-js-caught-exit-0": _js(f"{_JS_CAUGHT}process.exitCode = 0\n", ("exits-at-once", "status 0")),
    "no-js-caught-exit-1": _js(f"{_JS_CAUGHT}process.exit(1)\n"),
    "no-js-caught-then-said": _js(f"{_JS_CAUGHT}console.log('without it')\nprocess.exit(1)\n"),
    "no-js-caught-killed": _js(f"{_JS_CAUGHT}process.kill(process.pid, 'SIGKILL')\n"),
    "no-js-caught-other-error": _js(f"{_JS_CAUGHT}throw new RangeError('a price below 0')\n"),
    "no-js-text-thrown": _js("throw 'connect ECONNREFUSED 127.0.0.1:1'\n"),
    "no-js-text-rejected": _js("Promise.reject('EADDRINUSE')\n"),
    "no-js-handled-and-logged": _js(
        "require('net').connect(1, '127.0.0.1').on('error', error => { console.error(error); process.exitCode = 1 })\n"
    ),
    "no-js-child-failed": _js(
        "const { spawnSync } = require('child_process')\n"
        "spawnSync(process.execPath, ['-e', \"require('no-such-thing')\"], {stdio: 'inherit'})\n"
        "console.log('optional part is off')\nprocess.exit(1)\n"
    ),
    "no-js-worker-died": _js(
        "const { Worker } = require('worker_threads')\n"
        "new Worker(\"require('no-such-thing')\", { eval: true }).on('error', () => { process.exitCode = 1 })\n"
    ),
    "no-js-message-that-quotes": _js("throw new Error('upstream: listen EADDRINUSE: address already in use')\n"),
    "no-js-uncaught-handler": _js(
        "process.on('uncaughtException', error => console.error(error.message))\n"
        "setTimeout(() => process.exit(1), 5)\nrequire('no-such-thing')\n"
    ),
    # --- Ruby
    "no-rb-caught-exit-0": _rb(f"{_RB_CAUGHT}exit 0\n", ("exits-at-once", "status 0")),
    "no-rb-caught-exit-1": _rb(f"{_RB_CAUGHT}puts 'without it'\nexit 1\n"),
    "no-rb-caught-abort": _rb(f"{_RB_CAUGHT}abort 'the licence has run out'\n"),
    "no-rb-caught-killed": _rb(f"{_RB_CAUGHT}Process.kill 'KILL', Process.pid\nsleep\n"),
    "no-rb-caught-other-error": _rb(f"{_RB_CAUGHT}raise ArgumentError, 'a price below 0'\n"),
    "no-rb-thread-died": _rb(
        "thread = Thread.new { ENV.fetch('NO_SUCH_URL') }\nsleep 0.01 while thread.alive?\nexit 1\n"
    ),
    "no-rb-fallback-failed": _rb(
        "def other = raise(ArgumentError, 'no such store')\nbegin\n  ENV.fetch('CACHE_URL')\nrescue KeyError\n"
        "  other\nend\n"
    ),
    "no-rb-key-of-a-hash": _rb("{}.fetch('usd')\n"),
    "no-rb-name": _rb("foo\n"),
    "no-rb-warning": _rb("warn 'Connection refused (Errno::ECONNREFUSED)'\nexit 1\n"),
    # --- PHP
    "no-php-caught-exit-0": _php(f"{_PHP_CAUGHT}exit(0);\n", ("exits-at-once", "status 0")),
    "no-php-caught-exit-1": _php(f"{_PHP_CAUGHT}exit(1);\n"),
    "no-php-caught-exit-255": _php(f"{_PHP_CAUGHT}exit(255);\n"),
    "no-php-caught-killed": _php(f"{_PHP_CAUGHT}exec('kill -9 ' . getmypid());\n"),
    "no-php-caught-other-error": _php(f"{_PHP_CAUGHT}throw new DomainException('a price below 0');\n"),
    "no-php-warning": _php("fsockopen('127.0.0.1', 1);\nexit(1);\n"),
    "no-php-include": _php("include 'vendor/autoload.php';\nexit(255);\n"),
    "no-php-message-that-quotes": _php("throw new DomainException('upstream: Connection refused');\n"),
    # --- Java
    "no-java-caught-exit-1": _java(f"{_JAVA_CAUGHT}System.exit(1);"),
    "no-java-caught-exit-0": _java(_JAVA_CAUGHT, ("exits-at-once", "status 0")),
    "no-java-caught-other-error": _java(f'{_JAVA_CAUGHT}throw new IllegalStateException("a price below 0");'),
    "no-java-thread-died": _java(
        'Thread t = new Thread(() -> { throw new RuntimeException("Connection refused"); }); '
        "t.start(); t.join(); System.exit(1);"
    ),
    "no-java-main-died-others-went-on": _java(
        'new Thread(() -> { try { Thread.sleep(300); } catch (Exception e) { } System.out.println("served 3"); '
        'System.exit(1); }).start(); Class.forName("no.Such");'
    ),
    # --- shells
    "no-sh-went-on": _sh("bash -c 'no-such-command; echo started; exit 1'"),
    "no-sh-went-on-at-once": _sh("bash -c 'no-such-command; exit 0'", ("exits-at-once", "status 0")),
    "no-sh-other-status": _sh("bash -c 'no-such-command || exit 4'"),
    "no-sh-grep": _sh("sh -c 'echo \"error: Address already in use\"; exit 1'"),
    "no-sh-killed": _sh("bash -c 'no-such-command; kill -9 $$'"),
}


def installed(program: Program) -> bool:
    """Whether its runtime is here."""
    return found(program.runtime) is not None


def run(program: Program, folder: Path) -> Ended:
    """Run it in a new folder, and take what it writes with every path of the folder as `/app`."""
    for name, text in program.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    paths = [str(Path(sys.executable).parent), str(Path(found(program.runtime) or "/bin/sh").parent)]
    environment = {
        "PATH": ":".join([*paths, os.environ["PATH"]]),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "REFUSES": _CLOSED_PORT,
    }
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment["TAKEN"] = str(taken.getsockname()[1])
        ended = subprocess.run(
            ["bash", "-c", program.command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
    status = ended.returncode if ended.returncode >= 0 else 128 - ended.returncode
    return Ended(status=status, lines=_neutral(ended.stdout, folder).splitlines())


def kept(name: str) -> Ended:
    """How it has ended where its output was written down."""
    head, _, text = (KEPT / f"{name}.txt").read_text().partition(HEAD_ENDS)
    status = re.search(r"^status: (\d+)$", head, re.MULTILINE)
    assert status is not None, name
    return Ended(status=int(status[1]), lines=text.splitlines())


def _neutral(text: str, folder: Path) -> str:
    """Without the paths of the machine where it ran."""
    for place, shown in (
        (str(folder), "/app"),
        (sys.prefix, "/app/.venv"),
        (sys.base_prefix, "/usr/local"),
        (str(REPOSITORY), "/src"),
        (str(Path.home()), "~"),
    ):
        text = text.replace(place, shown)
    return text


def _version(runtime: str) -> str:
    option = "-version" if runtime == "java" else "--version"
    ended = subprocess.run([found(runtime) or runtime, option], capture_output=True, text=True, timeout=60, check=False)
    return (ended.stdout or ended.stderr).splitlines()[0]


def write_down() -> None:
    """Run all whose runtime is here, and keep what they write."""
    KEPT.mkdir(exist_ok=True)
    versions: dict[str, str] = {}
    for name, program in {**FAILURES, **NO_CAUSE}.items():
        if not installed(program):
            sys.stderr.write(f"{name}: no {program.runtime}\n")
            continue
        if program.runtime not in versions:
            versions[program.runtime] = _version(program.runtime)
        with tempfile.TemporaryDirectory() as folder:
            ended = run(program, Path(folder))
        head = f"of: {versions[program.runtime]}\ncommand: {program.command}\nstatus: {ended.status}\n{HEAD_ENDS}"
        (KEPT / f"{name}.txt").write_text(head + "".join(f"{line}\n" for line in ended.lines))


if __name__ == "__main__":
    write_down()
