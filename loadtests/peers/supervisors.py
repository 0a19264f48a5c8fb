"""The supervisors that are compared, each reduced to its configuration for N dynos of one command, and its commands.

All are configured for the same work: the dynos' output on one stdout, a crashed dyno started again at once, and none
has to wait until it counts as started (supervisord's startsecs would delay only what it says, not what it does).
"""

import shlex
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SLEEP = "sleep 100000"
REPORTING = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).parent / "reporting_dyno.py")])
FIRST_PORT = 12_000  # below what kernel and dynod give away


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a supervisor is to run. `web`: each dyno is given a PORT of its own."""

    command: str
    dynos: int
    web: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A supervisor, set up in a folder of its own."""

    start: Sequence[str]
    restart: Sequence[str] | None = None  # the first dyno, at an operator's word; None where there is no such thing
    environment: Mapping[str, str] = field(default_factory=dict)
    restarts_crashed: bool = True


Make = Callable[[Path, Work], Contestant]


def dynod(command: str) -> Make:
    """`command`: words for a shell; so another tree can be measured beside this one."""

    def make(folder: Path, work: Work) -> Contestant:
        kind = "web" if work.web else "worker"
        (folder / "Procfile").write_text(f"{kind}: {work.command}\n")
        (folder / "dynod.toml").write_text("[app]\nrestart = [0]\nrestart_jitter = 0.0\n")
        words = shlex.split(command)
        listen = ["-p", f"127.0.0.1:{free_port()}"] if work.web else []
        return Contestant(
            start=[*words, "up", *listen, f"{kind}={work.dynos}"], restart=[*words, "ps:restart", f"{kind}.1"]
        )

    return make


def supervisord(binaries: Path) -> Make:
    def make(folder: Path, work: Work) -> Contestant:
        config = folder / "supervisord.conf"
        numbered = f'numprocs_start={FIRST_PORT}\nenvironment=PORT="%(process_num)d"' if work.web else ""
        config.write_text(f"""
[supervisord]
nodaemon=true
minfds=8192
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[unix_http_server]
file={folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/s.sock
[program:dyno]
command={work.command}
process_name=%(process_num)d
numprocs={work.dynos}
autorestart=true
startsecs=0
redirect_stderr=true
stdout_logfile=/dev/stdout
stdout_logfile_maxbytes=0
{numbered}
""")
        first = FIRST_PORT if work.web else 0
        return Contestant(
            start=[str(binaries / "supervisord"), "-c", str(config)],
            restart=[str(binaries / "supervisorctl"), "-c", str(config), "restart", f"dyno:{first}"],
        )

    return make


def circus(binaries: Path) -> Make:
    def make(folder: Path, work: Work) -> Contestant:
        config = folder / "circus.ini"
        control = free_port()
        numbered = f" {FIRST_PORT} $(circus.wid)" if work.web else ""
        config.write_text(f"""
[circus]
endpoint = tcp://127.0.0.1:{control}
pubsub_endpoint = tcp://127.0.0.1:{free_port()}
statsd = False
[watcher:dyno]
cmd = {work.command}{numbered}
numprocesses = {work.dynos}
warmup_delay = 0
max_retry = -1
copy_env = True
""")
        return Contestant(
            start=[str(binaries / "circusd"), str(config)],
            restart=[str(binaries / "circusctl"), "--endpoint", f"tcp://127.0.0.1:{control}", "restart", "dyno"],
        )

    return make


def honcho(binaries: Path) -> Make:
    def make(folder: Path, work: Work) -> Contestant:
        kind = "web" if work.web else "worker"
        (folder / "Procfile").write_text(f"{kind}: exec {work.command}\n")
        return Contestant(
            start=[str(binaries / "honcho"), "start", "-c", f"{kind}={work.dynos}"],
            environment={"PORT": str(FIRST_PORT), "PYTHONUNBUFFERED": "1"},
            restarts_crashed=False,  # it ends them all
        )

    return make


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
