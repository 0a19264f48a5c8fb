"""A worker with a child, which has a child: three processes, none of which ends because another does.

Each says "NAME ready pid=N", and "NAME got SIGTERM" when it is told to leave; then it ends with 0.
"""

import os
import signal


def wait(name: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.write(1, f"{name} ready pid={os.getpid()}\n".encode())
    signal.sigwait({signal.SIGTERM})
    os.write(1, f"{name} got SIGTERM\n".encode())


if os.fork() == 0:
    wait("grandchild" if os.fork() == 0 else "child")
else:
    wait("parent")
os._exit(0)
