"""Does what it is told on stdin, a line each, and answers each with "done ...": the toy for tests of memory and CPU.

take N       takes N more megabytes and touches them
greedy N     a child takes N megabytes, which is waited for, however it ends
drop         gives all of them back
burn         a child burns CPU until it has used 0.3 s, and is waited for
orphan PATH  a grandchild burns as much, then waits at the FIFO; its parent ends at once: "done PID"
spin N       N children burn CPU without end
vfork PATH   "done" first; then a posix_spawn whose child waits at the FIFO before its exec, and the parent for it
"""

import os
import sys
import time

taken: list[bytearray] = []
BURN_S = 0.3


def burn() -> None:
    while time.process_time() < BURN_S:
        pass


def orphan(path: str) -> int:
    """The grandchild's process id."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            burn()
            os.write(writing, str(os.getpid()).encode())
            with open(path) as gate:  # noqa: PTH123 (a toy)
                gate.read()
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    pid = int(os.read(reading, 20))
    os.close(reading)
    return pid


for line in sys.stdin:
    answer = ""
    match line.split():
        case ["take", megabytes]:
            taken.append(bytearray(b"x" * 1024) * (int(megabytes) << 10))
        case ["greedy", megabytes]:
            if (pid := os.fork()) == 0:
                taken.append(bytearray(b"x" * 1024) * (int(megabytes) << 10))
                os._exit(0)
            answer = str(os.waitpid(pid, 0)[1])
        case ["drop"]:
            taken.clear()
        case ["burn"]:
            if (pid := os.fork()) == 0:
                burn()
                os._exit(0)
            os.waitpid(pid, 0)
        case ["orphan", path]:
            answer = str(orphan(path))
        case ["spin", count]:
            for _ in range(int(count)):
                if os.fork() == 0:
                    while True:
                        pass
        case ["vfork", path]:
            print("done", flush=True)
            os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, path, os.O_RDONLY, 0)])
            continue
    print("done", answer, flush=True)
