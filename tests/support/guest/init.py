"""The first process of a guest of `support.kernel_guest`: makes a machine of it, runs the probe, switches it off.

It is started by the kernel itself from the initramfs, with the standard library alone; nothing else runs yet.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_MS_BIND, _MS_MOVE = 4096, 8192  # mount(2)
_FINIT_MODULE = 313  # of x86_64
_POWER_OFF = 0x4321FEDC  # reboot(2)
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # netdevice(7)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    Path(target).mkdir(parents=True, exist_ok=True)
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


def make_machine() -> None:
    # Another root than the kernel's, which pivot_root(2) cannot leave, as bubblewrap does; and no mere chroot(2), in
    # which nobody may make namespaces of users.
    mount("/", "/root-of-the-guest", flags=_MS_BIND)
    os.chdir("/root-of-the-guest")
    mount(".", "/", flags=_MS_MOVE)
    os.chroot(".")
    os.chdir("/")
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")
    mount("dev", "/dev", "devtmpfs")
    mount("shm", "/dev/shm", "tmpfs")
    mount("pts", "/dev/pts", "devpts", data="newinstance,ptmxmode=0666")
    mount("run", "/run", "tmpfs")
    mount("cgroup", "/sys/fs/cgroup", "cgroup2")
    Path("/tmp").chmod(0o1777)  # on the initramfs itself: the project may lie below it
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        Path("/dev", name).symlink_to(f"/proc/self/fd{target}")
    for module in Path("/modules").iterdir():
        with module.open("rb") as file:
            _libc.syscall(_FINIT_MODULE, file.fileno(), b"", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loopback:
        fcntl.ioctl(loopback, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def run_job() -> int:
    job = json.loads(Path("/job.json").read_text())
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(job["paths"]), "HOME": "/tmp", "LANG": "C.UTF-8"}
    return subprocess.run(job["command"], env=environment, cwd="/tmp", check=False).returncode


if __name__ == "__main__":
    try:
        make_machine()
        print(f"REPORT {json.dumps({'ended': run_job()})}", flush=True)
    finally:
        _libc.reboot(_POWER_OFF)
