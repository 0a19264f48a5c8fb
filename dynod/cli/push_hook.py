"""The pre-receive hook of every app's repository: what was pushed is built and released, or the push is refused.

git starts it (`builds/repositories`) while what was pushed lies in a quarantine, from which nothing is left where this
ends with another status than 0. It brings the source to the daemon as everybody does, on behalf of whoever pushes and
for that app alone, and passes on what a build prints; git puts `remote: ` before each line.
"""

import fcntl
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final, cast

from dynod.cli.deploying import BuildFailedError, built, live, trouble_of_web, upload
from dynod.core.git_push import plan_of
from dynod.core.ssh_host import SSH
from dynod.errors import DynodError
from dynod.platform_api.client import ApiClient
from dynod.platform_api.finding import Daemon

LOCK: Final = "dynod-push"
MOST_LINES: Final = 1000  # refs of one push
MOST_BYTES: Final = 1024**3  # of a source, packed
DECLINED: Final = 1


class PushRefusedError(DynodError):
    """Nothing of it is taken in."""

    code = "push_refused"


def main(environment: Mapping[str, str] = os.environ) -> int:
    """One push; 0: it is taken in."""
    # What is packed here may be a bomb: the daemon's own limit comes too late for this disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
    daemon = Daemon(socket=environment["DYNOD_PUSH_SOCKET"], source="dynod", ssh=(SSH,))
    who = {
        "user": environment["DYNOD_PUSH_USER"],
        "origin": environment["DYNOD_PUSH_ORIGIN"],
        "app": environment["DYNOD_PUSH_APP"],
    }
    client = ApiClient(daemon, on_behalf=who)
    app = who["app"]
    try:
        app = client.app(app)["name"]
        _push(client, app, who["user"])
    except DynodError as error:
        if not isinstance(error, BuildFailedError):  # whose output has said it
            for line in str(error).splitlines():
                _say(f" !     {line}")
        _say(f"\n!\tPush rejected to {app}.\n")
        return DECLINED
    finally:
        client.close()
    return 0


def _push(client: ApiClient, app: str, user: str) -> None:
    plan = plan_of([line.rstrip("\n") for line in sys.stdin.readlines(MOST_LINES * 200)][:MOST_LINES])
    if plan.refused is not None:
        raise PushRefusedError(plan.refused)
    for line in plan.said:
        _say(line)
    if plan.commit is None:
        return
    with Path(LOCK).open("a+") as lock:
        _take(lock.fileno(), app, user)
        _deploy(client, app, plan.commit)


def _deploy(client: ApiClient, app: str, commit: str) -> None:
    with tempfile.TemporaryFile() as file:
        packed = cast("BinaryIO", file)
        _say("Compressing source files... ", end="")
        command = ["git", "archive", "--format=tar.gz", commit]
        done = subprocess.run(command, stdout=packed, stderr=subprocess.PIPE, check=False)  # noqa: S603 (checked words)
        if done.returncode:
            raise PushRefusedError(f"git archive: {done.stderr.decode(errors='replace').strip()}")
        _say("done.\nBuilding source:\n")
        url = upload(client, app, packed)
    build = built(client, app, client.create_build(app, url, commit), _write)
    version = build["dynod"]["release_version"]
    if version is None:
        raise PushRefusedError("The build has made no release.")
    _say("")
    try:
        live(client, app, version, _write)
    except DynodError as error:
        _say("Verifying deploy... failed.")
        raise PushRefusedError(str(error)) from error
    _say("Verifying deploy... done.")
    trouble = trouble_of_web(client, app)
    if trouble is not None:
        _say(f" !     It is released, but {trouble}")


def _take(descriptor: int, app: str, user: str) -> None:
    """The right to push to this app, as long as this process lives. Raises PushRefusedError for everybody else."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 300, 0).decode(errors="replace").strip() or "somebody"
        raise PushRefusedError(f"{holder} is pushing to {app} just now: push again when that is over.") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{user} (since {time.strftime('%H:%M:%S')})".encode(), 0)


def _say(text: str, end: str = "\n") -> None:
    _write(f"{text}{end}".encode())


def _write(data: bytes) -> None:
    """At once: whoever pushes is looking."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
