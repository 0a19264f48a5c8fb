"""Which scope a route needs, and what a token of one app may ask for."""

import pytest

from dynod.core.api_access import concerns_an_app, is_open_to_app_tokens, needed_scope
from dynod.core.api_token import HEROKU_SCOPES, Scope, TokenRefusedError, hash_of, scope_named
from dynod.platform_api.server import PlatformApi
from support.api_server import MadeUpOperations


def test_each_scope_may_what_the_one_before_may() -> None:
    table = {(have, needed): have.covers(needed) for have in Scope for needed in Scope}
    assert [pair for pair, enough in table.items() if enough] == [
        (Scope.READ, Scope.READ),
        (Scope.DEPLOY, Scope.READ),
        (Scope.DEPLOY, Scope.DEPLOY),
        (Scope.ADMIN, Scope.READ),
        (Scope.ADMIN, Scope.DEPLOY),
        (Scope.ADMIN, Scope.ADMIN),
    ]


@pytest.mark.parametrize(
    ("method", "route", "needed"),
    [
        ("GET", "/apps", Scope.READ),
        ("HEAD", "/apps/{app}", Scope.READ),
        ("GET", "/apps/{app}/dynos/{dyno}", Scope.READ),
        ("POST", "/apps/{app}/log-sessions", Scope.READ),
        ("GET", "/apps/{app}/config-vars", Scope.DEPLOY),
        ("HEAD", "/apps/{anything}/config-vars", Scope.DEPLOY),
        ("GET", "/apps/{app}/releases/{release}/config-vars", Scope.DEPLOY),
        ("GET", "/apps/{app}/releases/{release}", Scope.READ),
        ("GET", "/apps/{app}/slugs/{slug}", Scope.DEPLOY),
        ("GET", "/apps/{app}/dynos/{dyno}/attach/{secret}", Scope.DEPLOY),
        ("POST", "/apps/{app}/dynos", Scope.DEPLOY),
        ("PATCH", "/apps/{app}/formation", Scope.DEPLOY),
        ("PATCH", "/apps/{app}", Scope.DEPLOY),
        ("PROPFIND", "/apps/{app}", Scope.DEPLOY),
        ("PUT", "/whatever/comes/next", Scope.DEPLOY),
        ("POST", "/apps", Scope.ADMIN),
        ("DELETE", "/apps/{app}", Scope.ADMIN),
        ("GET", "/oauth/authorizations", Scope.ADMIN),
        ("DELETE", "/oauth/authorizations/{authorization}", Scope.ADMIN),
        ("POST", "/dynod/heroku-environment", Scope.ADMIN),
        ("GET", "/dynod/backup", Scope.ADMIN),
    ],
)
def test_scope_of_a_route(method: str, route: str, needed: Scope) -> None:
    assert needed_scope(method, route) is needed


@pytest.mark.parametrize(
    ("method", "route", "is_open"),
    [
        ("GET", "/apps/{app}/dynos", True),
        ("POST", "/apps/{app}/dynos", True),
        ("GET", "/apps", True),
        ("POST", "/apps", False),
        ("GET", "/account", True),
        ("GET", "/dyno-sizes/{size}", True),
        ("GET", "/oauth/authorizations", False),
        ("GET", "/something/new", False),
        ("GET", "/appsx/{app}", False),
    ],
)
def test_what_a_token_of_one_app_may_ask_for(method: str, route: str, is_open: bool) -> None:
    assert is_open_to_app_tokens(method, route) is is_open


def test_every_route_of_an_app_calls_it_app() -> None:
    """By that name `admission` finds whose it is."""
    application = PlatformApi(MadeUpOperations(), secret=b"of a test")._runner.app
    assert application is not None
    routes = [route.resource.canonical for route in application.router.routes() if route.resource is not None]
    assert len(routes) > 20
    assert [route for route in routes if concerns_an_app(route) and not route.startswith("/apps/{app}")] == []


def test_scopes_have_heroku_names_too() -> None:
    assert {name: scope_named(name) for name in ("read", "deploy", "admin")} == {each.value: each for each in Scope}
    assert all(scope_named(name) is scope for scope, name in HEROKU_SCOPES.items())
    with pytest.raises(TokenRefusedError):
        scope_named("identity")


def test_any_text_has_a_hash() -> None:
    assert hash_of("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert len(hash_of("\ud800")) == 64
