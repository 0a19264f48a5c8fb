"""Config vars: which names and values an app's environment takes, and what a change makes of it. Pure.

Sources: Heroku Dev Center, "Configuration and Config Vars" (names, 64 kB for all of an app, one release a change).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from dynod.core.fault import quoted
from dynod.errors import DynodError

MOST_BYTES: Final = 64 * 1024  # of all names and values of an app
LONGEST_NAME: Final = 256  # characters
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class ConfigRefusedError(DynodError):
    """A name or a value that no environment can hold, or too much of them. Values are never in its message."""

    code = "config_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """What a change comes to. `set_names` and `removed_names` hold only what was not so already, sorted."""

    config: Mapping[str, str]
    set_names: tuple[str, ...]
    removed_names: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing changes: no release is made of it (Heroku)."""
        return not self.set_names and not self.removed_names

    @property
    def description(self) -> str:
        """Of the release, in Heroku's words."""
        parts = []
        if self.set_names:
            parts.append(f"Set {', '.join(self.set_names)}")
        if self.removed_names:
            parts.append(f"{'remove' if parts else 'Remove'} {', '.join(self.removed_names)}")
        return f"{' and '.join(parts)} config vars"


def change_config(
    config: Mapping[str, str], changes: Mapping[str, str | None], *, replace: bool = False
) -> ConfigChange:
    """Apply changes, where None unsets; with `replace`, what is not named goes too. Raises ConfigRefusedError."""
    faults = [fault for name, value in changes.items() if (fault := _fault(name, value))]
    if faults:
        raise ConfigRefusedError("\n".join(faults))
    wanted = {} if replace else dict(config)
    for name, value in changes.items():
        if value is None:
            wanted.pop(name, None)
        else:
            wanted[name] = value
    size = config_bytes(wanted)
    if size > MOST_BYTES and size > config_bytes(config):  # a change that makes it less is always taken
        raise ConfigRefusedError(
            f"The config vars would take {size} bytes; all names and values of an app may have {MOST_BYTES}: "
            "keep large values in a file or a database."
        )
    return ConfigChange(
        config=dict(sorted(wanted.items())),
        set_names=tuple(sorted(name for name, value in wanted.items() if config.get(name) != value)),
        removed_names=tuple(sorted(config.keys() - wanted.keys())),
    )


def config_bytes(config: Mapping[str, str]) -> int:
    """What counts against the limit: names and values in UTF-8."""
    return sum(len(name.encode()) + len(value.encode("utf-8", "surrogatepass")) for name, value in config.items())


def names_that_differ(before: Mapping[str, str], after: Mapping[str, str]) -> Collection[str]:
    """Names of config vars that are set, unset or have another value, sorted: what a rollback changes back."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _fault(name: str, value: str | None) -> str:
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        return (
            f"{quoted(name[:LONGEST_NAME])}: expected a name of letters, digits and _ that begins with no digit, "
            f"at most {LONGEST_NAME} long"
        )
    if value is not None and "\0" in value:
        return f"{name}: its value holds a NUL, which no environment can"
    if value is not None and not _is_text(value):
        return f"{name}: its value is no text in UTF-8; encode it (base64, for instance)"
    return ""


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
