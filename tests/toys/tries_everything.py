"""Tries what a dyno must not be able to do, and what apps do; prints one JSON document of the outcomes.

Arguments: JSON of what the test knows: paths and process ids of the machine. An outcome is "" for what worked, else
the error.
"""

import ctypes
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

KNOWN = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


def call(number: int, *arguments: int) -> None:
    if LIBC.syscall(number, *(ctypes.c_long(each) for each in arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def run(*argv: str) -> str:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout.strip()


def bind_other_port() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", KNOWN["other_port"]))


def bind_port_to_be() -> None:
    with socket.socket() as other, socket.socket(socket.AF_INET6) as sixth:
        try:
            other.bind(("", KNOWN["port_to_be"]))
        except OSError:
            sixth.bind(("::1", KNOWN["port_to_be"]))


def bind_own_ports() -> None:
    """Its own, those that the kernel chooses, and what is of another protocol."""
    for number in (int(os.environ["PORT"]), 0):
        with socket.socket() as own:
            own.bind(("", number))
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", KNOWN["other_port"]))


def reach_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(KNOWN["abstract"])


def own_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("\0of-a-dyno")
        server.listen()
        client.connect("\0of-a-dyno")


def shared_memory() -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(b"x")


def reopen_stdout() -> None:
    with Path("/dev/stdout").open("a") as file:
        file.write("through /dev/stdout\n")


def write_over_code() -> None:
    Path("Procfile").write_text("changed\n")
    Path("made/here").mkdir(parents=True)
    Path("made/here/file").write_text("new\n")


TRACED = "import ctypes, sys; sys.exit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != 0)"
X86_64 = os.uname().machine == "x86_64"
document = {
    "uid": os.getuid(),
    "gid": os.getgid(),
    "groups": os.getgroups(),
    "cwd": str(Path.cwd()),
    "home": os.environ["HOME"],
    "capabilities": [
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Cap")
    ],
    "no_new_privileges": "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(),
    "processes": sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()),
    "inherited": sorted(each.name for each in Path("/proc/self/fd").iterdir()),
    "user_name": run("id", "-un"),
    "denied": {
        "read the state": outcome(lambda: list(Path(KNOWN["state"]).iterdir())),
        "read another app's code": outcome(lambda: Path(KNOWN["other_code"]).read_bytes()),
        "see the machine's /tmp": outcome(lambda: Path(KNOWN["in_tmp"]).read_bytes()),
        "read the first process's environment": outcome(lambda: Path("/proc/1/environ").read_bytes()),
        "signal the daemon": outcome(lambda: os.kill(KNOWN["daemon"], 0)),
        "signal another dyno": outcome(lambda: os.kill(KNOWN["other_pid"], 0)),
        "signal what watches over it": outcome(lambda: os.kill(1, signal.SIGTERM)),
        "bind the port of another dyno": outcome(bind_other_port),
        "bind the port of a dyno that is to come": outcome(bind_port_to_be),
        "reach a socket without a file": outcome(reach_abstract_socket),
        "become root": outcome(lambda: os.setuid(0)),
        "write to the system": outcome(lambda: Path("/usr/made-by-a-dyno").write_text("x")),
        "write to the kernel's settings": outcome(lambda: Path("/proc/sys/kernel/core_pattern").write_text("x")),
        "read password hashes": outcome(lambda: Path("/etc/shadow").read_bytes()),
        "sudo": outcome(lambda: run("su", "-c", "true")),
        "mount": outcome(lambda: run("mount", "-t", "tmpfs", "none", "/tmp")),
        "make a user namespace": outcome(lambda: run("unshare", "--user", "true")),
        "talk to the machine that this one is a guest of": outcome(lambda: socket.socket(socket.AF_VSOCK)),
        "see whose child it is": "" if "dynod" in Path("/proc/self/cgroup").read_text() else "no",
        "use the kernel's keyrings": outcome(lambda: call(250 if X86_64 else 219, 0, -3, 1)),
        "load a BPF program": outcome(lambda: call(321 if X86_64 else 280, 0, 0, 0)),
    },
    "allowed": {
        "write over its code": outcome(write_over_code),
        "write to /tmp": outcome(lambda: Path("/tmp/mine").write_text("x")),
        "write to /var/tmp": outcome(lambda: Path("/var/tmp/mine").write_text("x")),
        "shared memory": outcome(shared_memory),
        "reopen stdout": outcome(reopen_stdout),
        "a socket of its own without a file": outcome(own_abstract_socket),
        "ports of its own": outcome(bind_own_ports),
        "name service": outcome(lambda: socket.getaddrinfo("localhost", 80)),
        "certificates": outcome(lambda: ssl.create_default_context().load_default_certs()),
        "time zones": outcome(lambda: run("env", "TZ=Europe/Berlin", "date")),
        "processes": outcome(lambda: run("sh", "-c", "true & wait")),
        "processors": outcome(lambda: Path("/sys/devices/system/cpu/online").read_text()),
        "node": outcome(lambda: run("node", "-e", "for (let i = 0, s = 0; i < 1e6; i++) s += i"))
        if KNOWN["node"]
        else "",
        "java": outcome(lambda: run("java", "-version")) if KNOWN["java"] else "",
        "trace a child": outcome(lambda: run(sys.executable, "-c", TRACED)),  # itself it would hear no signal any more
    },
    "certificates": len(ssl.create_default_context().get_ca_certs()),
}
print("OUTCOMES " + json.dumps(document), flush=True)
while True:
    signal.pause()
