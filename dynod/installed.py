"""Whether another version of dynod is installed than the one that runs: versions lie side by side, `current` names one.

As `systemd:install` lays them out (`core/service_plan`), for the machine or for one user. Elsewhere there is no link,
and so no other version.
"""

import sys
from pathlib import Path
from typing import Final

from dynod.core.service_plan import CURRENT

CORE: Final = ("-P", "-m", "dynod.daemon")  # as the keeper starts it


def other_version(prefix: Path | None = None) -> Path | None:
    """The environment that `current` leads to; None where that is the one that this runs in."""
    own = Path(sys.prefix) if prefix is None else prefix
    link = own.parent / CURRENT
    if not link.is_symlink():
        return None
    there = link.resolve()
    return None if there == own.resolve() else there


def core_program(environment: Path) -> list[str]:
    """What starts a core of the version in that environment."""
    return [str(environment / "bin" / "python"), *CORE]
