"""Makes the folder of a build: the source, the config vars as files, the spec; and says what is to be started.

Flow: build → **preparation** → runner. Blocks; nothing of a build has run yet.
"""

import os
import posixpath
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from dynod.builds.work import ENV, SOURCE, SPEC, BuildSpec, write_spec
from dynod.core.build_plan import BUILDPACK_URL

HOME: Final = "home"  # of the scripts, where /app is not the build's own
TEMPORARY: Final = "tmp"


def prepare(spec: BuildSpec, *, work: Path, cache: Path, source: Path, config: Mapping[str, str]) -> list[str]:
    """Make the folder `work`, in place of what an earlier core may have begun there; returns the command.

    The spec has the same paths as the build will see them. Raises OSError.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700, parents=True)
    for name in (HOME, TEMPORARY, ENV, "packs"):
        (work / name).mkdir(mode=0o700)
    (work / HOME).chmod(0o755)  # bubblewrap, which has few rights, begins in there; `work` itself lets nobody in
    shutil.copyfile(source, work / SOURCE)  # no link: it becomes the app user's
    for name, value in config.items():
        path = work / ENV / name
        path.touch(mode=0o600)
        path.write_bytes(value.encode("utf-8", "surrogateescape"))
    for folder in (cache, cache / "build", cache / "packs"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.utime(cache)  # the one that was used last goes last
    write_spec(work, replace(spec, config={name: config[name] for name in BUILDPACK_URL if name in config}))
    return [sys.executable, "-P", "-m", "dynod.builds.runner", posixpath.join(spec.work, SPEC)]


def remove_cache(caches: Path, *, but: str) -> bool:
    """Remove the build cache that was not used for the longest, but not this app's; whether there was one."""
    try:
        found = [path for path in caches.iterdir() if path.name != but]
    except FileNotFoundError:
        return False
    if not found:
        return False
    shutil.rmtree(min(found, key=lambda path: path.stat().st_mtime), ignore_errors=True)
    return True
