"""What a token may ask the API for: which scope a route needs, and which routes there are for a token of one app. Pure.

A route is its method and the path as it was declared, `/apps/{app}/dynos/{dyno}`. What is not in the tables follows
from the method, on the safe side: to look is `read`, to change anything is `deploy`.
"""

import re
from typing import Final

from dynod.core.api_token import Scope

LOOKING: Final = frozenset({"GET", "HEAD"})
APP: Final = re.compile(r"/apps/\{[^}]*\}(?:/|$)")  # whatever concerns one app
_NAME: Final = re.compile(r"\{[^}]*\}")

# Method (None: any) and path, its parameters unnamed.
_OTHER_SCOPES: Final = {
    ("POST", "/apps/{}/log-sessions"): Scope.READ,  # changes nothing
    # Values of config vars, and what leads to them.
    ("GET", "/apps/{}/config-vars"): Scope.DEPLOY,
    ("GET", "/apps/{}/releases/{}/config-vars"): Scope.DEPLOY,
    ("GET", "/apps/{}/slugs/{}"): Scope.DEPLOY,
    ("GET", "/apps/{}/dynos/{}/attach/{}"): Scope.DEPLOY,
    ("GET", "/apps/{}/git/{}"): Scope.DEPLOY,
    ("POST", "/apps"): Scope.ADMIN,
    ("DELETE", "/apps/{}"): Scope.ADMIN,
    (None, "/oauth/authorizations"): Scope.ADMIN,
    (None, "/oauth/authorizations/{}"): Scope.ADMIN,
    (None, "/dynod/heroku-environment"): Scope.ADMIN,
    (None, "/dynod/on-behalf"): Scope.ADMIN,
    # A key opens what its scope says, like a token.
    ("POST", "/account/keys"): Scope.ADMIN,
    (None, "/account/keys/{}"): Scope.ADMIN,
    (None, "/dynod/keys"): Scope.ADMIN,
    ("GET", "/dynod/backup"): Scope.ADMIN,
    ("GET", "/dynod/events"): Scope.ADMIN,
    ("POST", "/dynod/dashboard/sessions"): Scope.READ,  # makes what may only look
}

# Without an app in their path, and yet for a token of one app: they show that app, or what is the same for everybody.
_OPEN_TO_APP_TOKENS: Final = frozenset(
    {
        "/account",
        "/account/features",
        "/account/rate-limits",
        "/apps",
        "/dynod/dashboard/stream",
        "/dynod/stats",
        "/dyno-sizes",
        "/dyno-sizes/{}",
        "/openapi.json",
        "/schema",
        "/users/~/apps",
    }
)

# The dashboard: its page, which has no secret in it, and where a code or a token becomes a session of it.
_OPEN_TO_ALL: Final = frozenset({("GET", "/"), ("GET", "/dashboard/{}"), ("POST", "/dynod/dashboard/sessions")})

# What that page asks for, and with a session of it anybody may: to look. Everything else is for no web page at all.
_OPEN_TO_PAGE: Final = frozenset(
    {
        *_OPEN_TO_ALL,
        ("GET", "/apps/{}/release-changes"),
        ("GET", "/dynod/dashboard/stream"),
        ("GET", "/log-sessions/{}"),
        ("POST", "/apps/{}/log-sessions"),
    }
)


def needed_scope(method: str, route: str) -> Scope:
    """What a token needs for it."""
    path = _NAME.sub("{}", route)
    for key in ((method, path), (None, path)):
        if key in _OTHER_SCOPES:
            return _OTHER_SCOPES[key]
    if method == "HEAD":
        return needed_scope("GET", route)
    return Scope.READ if method in LOOKING else Scope.DEPLOY


def concerns_an_app(route: str) -> bool:
    """Whether its path names the app that it is about."""
    return APP.match(route) is not None


def is_open_to_app_tokens(method: str, route: str) -> bool:
    """Whether a token of one app may ask for it, that app being the one in its path if there is one."""
    return concerns_an_app(route) or (method in LOOKING and _NAME.sub("{}", route) in _OPEN_TO_APP_TOKENS)


def is_open_to_all(method: str, route: str) -> bool:
    """Whether nobody is asked who they are."""
    return _key(method, route) in _OPEN_TO_ALL


def is_open_to_page(method: str, route: str) -> bool:
    """Whether dynod's own page asks for it."""
    return _key(method, route) in _OPEN_TO_PAGE


def _key(method: str, route: str) -> tuple[str, str]:
    return ("GET" if method == "HEAD" else method), _NAME.sub("{}", route)
