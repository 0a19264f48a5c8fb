"""Says who it is, and tries to reach what is not its own; prints one JSON document of the outcomes, and stays.

Argument: JSON of what the test knows. An outcome is "" for what worked, else the error.
"""

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

KNOWN = json.loads(sys.argv[1])


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def reopen_stdout() -> None:
    with Path("/dev/stdout").open("a") as file:
        file.write("through /dev/stdout\n")


def reach_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(KNOWN["abstract"])


def run(*argv: str) -> None:
    """Where it is installed."""
    if shutil.which(argv[0]) is not None:
        subprocess.run(argv, capture_output=True, check=True)


status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
document = {
    "uid": os.getuid(),
    "groups": os.getgroups(),
    "home": os.environ["HOME"],
    "cwd": str(Path.cwd()),
    "temporary": tempfile.gettempdir(),
    "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"],
    "inherited": sorted(each.name for each in Path("/proc/self/fd").iterdir()),
    "umask": status["Umask"],
    "filters": status["Seccomp"],
    "denied": {
        "list the state": outcome(lambda: list(Path(KNOWN["state"]).iterdir())),
        **{f"read {path}": outcome(Path(path).read_bytes) for path in KNOWN["secrets"]},
        **{f"list {path}": outcome(functools.partial(os.listdir, path)) for path in KNOWN["folders"]},
        "read the daemon's environment": outcome(lambda: Path(f"/proc/{KNOWN['daemon']}/environ").read_bytes()),
        "signal the daemon": outcome(lambda: os.kill(KNOWN["daemon"], 0)),
        "signal another app": outcome(lambda: os.kill(KNOWN["other"], 0)),
        "reach a socket without a file": outcome(reach_abstract_socket),
        "make a user namespace": outcome(lambda: subprocess.run(["unshare", "--user", "true"], stderr=-3, check=True)),
        "become root": outcome(lambda: os.setuid(0)),
        "write to the system": outcome(lambda: Path("/usr/made-by-a-dyno").write_text("x")),
        "write to its code": outcome(lambda: Path(KNOWN["code"], "made").write_text("x")),
    },
    "allowed": {
        "node": outcome(functools.partial(run, "node", "-e", "for (let i = 0, s = 0; i < 1e6; i++) s += i")),
        "java": outcome(functools.partial(run, "java", "-version")),
        "write over its copy": outcome(lambda: Path("Procfile").write_text("changed\n")),
        "write to its home": outcome(lambda: Path(os.environ["HOME"], "made").write_text("new\n")),
        "temporary files": outcome(tempfile.mkdtemp),
        "reopen stdout": outcome(reopen_stdout),
    },
}
print("OUTCOMES " + json.dumps(document), flush=True)
while True:
    signal.pause()
