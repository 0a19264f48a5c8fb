"""Writes what it was given to `DYNO.json` in the working folder, says "described", and waits for SIGTERM.

That is: environment, arguments, working folder, ids, limits, open descriptors, signals, and what stdin has to offer.
With the argument "leaves" it ends at once.
"""

import contextlib
import json
import os
import re
import resource
import select
import signal
import sys
from pathlib import Path


def descriptors() -> dict[int, str]:
    found = {}
    for entry in sorted(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # the one that listed the folder
            found[int(entry.name)] = str(entry.readlink())
    return found


def stdin() -> str:
    """What a program that watches its stdin would see within the blink of an eye."""
    if not select.select([0], [], [], 0)[0]:
        return "open and empty"
    return "ended" if os.read(0, 1) == b"" else "data"


# As it was at exec: os.environ has what Python itself has changed since (LC_CTYPE, in the C locale).
environment = dict(
    entry.split("=", 1)
    for entry in Path("/proc/self/environ").read_bytes().decode(errors="surrogateescape").split("\0")
    if entry
)
# 32 and 33 are the C library's own (nptl(7)): no program can set them, and whoever started us may have ignored them.
C_LIBRARYS = 1 << 32 - 1 | 1 << 33 - 1
signals = dict(re.findall(r"^(SigBlk|SigIgn):\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE))
described = {
    "environment": environment,
    "arguments": sys.argv[1:],
    "folder": str(Path.cwd()),
    "pid": os.getpid(),
    "parent": os.getppid(),
    "session": os.getsid(0),
    "group": os.getpgid(0),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "descriptors": descriptors(),
    "stdin": stdin(),
    "blocked": int(signals["SigBlk"], 16),
    # Python ignores SIGPIPE and SIGXFSZ by itself.
    "ignored": int(signals["SigIgn"], 16) & ~(1 << signal.SIGPIPE - 1) & ~(1 << signal.SIGXFSZ - 1) & ~C_LIBRARYS,
}
target = Path(f"{environment['DYNO']}.json")
target.with_suffix(".part").write_text(json.dumps(described))
target.with_suffix(".part").rename(target)
print("described", flush=True)
if "leaves" not in sys.argv:
    signal.pause()
