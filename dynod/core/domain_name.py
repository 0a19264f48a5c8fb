"""Domains of apps: which host names an app may be reached by besides its own. Pure; IDNA is the caller's.

A name comes here in ASCII, lower case, without a trailing dot; `*.` in front stands for every name below, as on Heroku
(Dev Center, "Custom Domain Names for Apps"). What lies below the apps' domain belongs to the app whose name it begins.
"""

import re
from typing import Final

from dynod.core.fault import quoted

WILDCARD: Final = "*."
LONGEST: Final = 253  # characters of a name, RFC 1035 section 2.3.4
MOST_DOMAINS: Final = 1000  # of an app; Heroku, "Limits"
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)


def domain_fault(hostname: str, *, app: str, apps_domain: str) -> str | None:
    """What is wrong with a domain for the app of that name, as a sentence; None if it may be added."""
    name = hostname.removeprefix(WILDCARD)
    shown = quoted(hostname)
    labels = name.split(".")
    if not name or len(name) > LONGEST or not all(_LABEL.fullmatch(label) for label in labels):
        return f"{shown} is no host name: expected letters, digits and dashes between dots, such as www.example.com."
    if labels[-1].isdigit():
        return f"{shown} is an address, not a host name."
    if hostname == WILDCARD + apps_domain:
        return f"{shown} would be every app of this dynod."
    if name.endswith(f".{apps_domain}"):
        owner = name.removesuffix(f".{apps_domain}").rpartition(".")[2]
        if owner != app:
            return f"{shown} lies below {owner}.{apps_domain}, which is an app's own name."
        if hostname == f"{app}.{apps_domain}":
            return f"{shown} is where the app is reached already."
    return None
