"""How a dyno of a slug that buildpacks have made is started: their `.profile.d` scripts first, then the command. Pure.

As on Heroku (heroku-semantics 9.5): bash sources `.profile.d/*.sh` in the order of their names, then `.profile`, both
after the config vars, which they may change. Then the command takes the shell's place, so that signals reach it.
"""

from collections.abc import Sequence
from typing import Final

from dynod.core.command import analyse

# In the folder of the app. A script that fails does not keep the dyno from starting, as on Heroku.
_SOURCING: Final = (
    "for each in .profile.d/*.sh; do "
    'if [ -r "$each" ]; then . "./$each"; fi; done; unset each; '
    'if [ -r .profile ]; then . ./.profile; fi; exec "$@"'
)


def slug_argv(command: str, *, bash: str) -> Sequence[str]:
    """What to execute for a command. `bash`: the path of one."""
    return after_profile(analyse(command, shell=bash).argv, bash=bash)


def after_profile(argv: Sequence[str], *, bash: str) -> Sequence[str]:
    """The same for what is to be executed already, such as a health check's command."""
    return (bash, "-c", _SOURCING, "bash", *argv)
