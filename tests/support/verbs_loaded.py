"""The program behind `support/verbs`: has the command line loaded, and forks for each verb that it is asked for.

    python -P verbs_loaded.py DESCRIPTOR

Through the socket DESCRIPTOR come, for each, the descriptors of a socket, of stdout and of stderr. Through that socket
comes a line of JSON, and goes the exit status as subprocess has it.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import time

from dynod.__main__ import KEPT_VERBS, main
from dynod.cli.main import VERBS

SENT = 3  # descriptors


def load() -> None:
    """What the verbs import, and what they import when they run."""
    for name, verb in VERBS.items():
        if name not in KEPT_VERBS:
            importlib.import_module(verb.module)
    gc.freeze()  # or each verb would look through all of it once more at its end


def next_verb(listening: socket.socket) -> list[str]:
    """Returns in a process for each verb, with its arguments; here only at the end of all."""
    while True:
        byte, descriptors, _flags, _address = socket.recv_fds(listening, 1, SENT)
        if not byte:
            raise SystemExit(0)
        if os.fork() == 0:
            listening.close()
            return _in_its_place(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _in_its_place(asked: int, stdout: int, stderr: int) -> list[str]:
    """Between the two is one that waits for the verb, and tells how it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(fileno=asked) as connection, connection.makefile("rw", encoding="utf-8") as told:
        request = json.loads(told.readline())
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            told.write(f"{os.waitstatus_to_exitcode(status)}\n")
            told.flush()
            os._exit(0)
    for number, descriptor in ((1, stdout), (2, stderr)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    arguments: list[str] = request["arguments"]
    return arguments


if __name__ == "__main__":
    load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for verbs
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        verb = next_verb(listening)
    sys.argv = ["dynod", *verb]
    sys.exit(main())
