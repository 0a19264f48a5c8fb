"""Names of apps: Heroku's rule, because a name is a label of a host name (`NAME.localhost`) too. Pure."""

import re
from typing import Final

SHORTEST: Final = 3
LONGEST: Final = 30
APP_NAME: Final = re.compile(rf"[a-z][a-z0-9-]{{{SHORTEST - 2},{LONGEST - 2}}}[a-z0-9]", re.ASCII)


def app_name_fault(name: str) -> str | None:
    """What is wrong with a name, to be put after the name itself; None if it is one."""
    if APP_NAME.fullmatch(name):
        return None
    if not SHORTEST <= len(name) <= LONGEST:
        return f"expected {SHORTEST} to {LONGEST} characters, found {len(name)}"
    return "expected lower-case letters, digits and dashes, a letter first, a letter or digit last"
