"""`/openapi.json` and `/schema`: what this API takes, told by its own routes.

A route's method, path and docstring are the router's; the body is the type that its handler reads, found in the
handler's own source, so that a description cannot say anything else than what is done. Answers are Heroku's objects:
their members are in Heroku's own schema, against which tests hold them.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from dynod.core.api_access import needed_scope
from dynod.platform_api.exchange import answer
from dynod.platform_api.serializers import Json

READS: Final = "read_body"  # the function that reads a body, whose second argument is its type
PARAMETER: Final = re.compile(r"\{([^}:]+)[^}]*\}")
TITLE: Final = "dynod: Heroku's Platform API v3"
MEDIA: Final = "application/json"
OTHER_MEDIA: Final = {  # of answers that are no objects of the API, by path
    "/blobs/{rest}": ("application/gzip", "text/plain"),
    "/dynod/backup": ("application/gzip",),
    "/dynod/dashboard/stream": ("text/event-stream",),
    "/log-sessions/{key}": ("text/plain", "text/event-stream"),
}

PAGE: Final = ("/", "/dashboard/{file}")  # for browsers, and no part of the API

routes = web.RouteTableDef()


class Link(NamedTuple):
    """One thing that can be asked for."""

    method: str
    path: str
    text: str
    body: object  # the type of its body; None: it takes none


@routes.get("/openapi.json")
async def openapi(request: web.Request) -> web.Response:
    """The API as OpenAPI 3.1."""
    return answer(openapi_of(links(request.app)))


@routes.get("/schema")
async def schema(request: web.Request) -> web.Response:
    """The API as a JSON hyper-schema, as Heroku's own is."""
    return answer(schema_of(links(request.app)))


def links(application: web.Application) -> list[Link]:
    """Every route, by path and method."""
    found = [
        Link(
            method=route.method,
            path=route.resource.canonical,
            text=inspect.getdoc(route.handler) or "",
            body=body_of(route.handler),
        )
        for route in application.router.routes()
        if route.resource is not None and route.method != "HEAD" and route.resource.canonical not in PAGE
    ]
    return sorted(found, key=lambda link: (link.path, link.method))


def body_of(handler: Callable[..., object]) -> object:
    """The type that a handler reads, or None."""
    source = ast.parse(textwrap.dedent(inspect.getsource(handler)))
    for call in ast.walk(source):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == READS:
            code = compile(ast.Expression(call.args[1]), READS, "eval")
            return eval(code, handler.__globals__)  # noqa: S307 (the handler's own source)
    return None


def openapi_of(found: Iterable[Link]) -> Json:
    """OpenAPI 3.1.0, whose schemas are JSON Schema 2020-12, which msgspec writes."""
    found = list(found)
    bodies = [link.body for link in found if link.body is not None]
    schemas, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    of_body = iter(schemas)
    paths: dict[str, Json] = {}
    for link in found:
        operation: Json = {
            "summary": link.text.partition("\n")[0],
            "operationId": _name_of(link),
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in PARAMETER.findall(link.path)
            ],
            "responses": {
                "2XX": {
                    "description": "Done, begun, or the page of a list",
                    "content": {media: {} for media in OTHER_MEDIA.get(link.path, (MEDIA,))},
                },
                "default": {
                    "description": "Refused",
                    "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Error"}}},
                },
            },
            "x-scope": needed_scope(link.method, link.path).value,
        }
        if link.body is not None:
            operation["requestBody"] = {"content": {MEDIA: {"schema": next(of_body)}}}
        paths.setdefault(link.path, {})[link.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": "3"},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def schema_of(found: Iterable[Link]) -> Json:
    """Interagent's hyper-schema: a definition for each resource, with its links."""
    found = list(found)
    bodies = [link.body for link in found if link.body is not None]
    schemas, components = msgspec.json.schema_components(bodies, ref_template="#/definitions/{name}")
    of_body = iter(schemas)
    resources: dict[str, list[Json]] = {}
    for link in found:
        entry: Json = {
            "description": link.text,
            "href": link.path,
            "method": link.method,
            "rel": {"GET": "self", "POST": "create", "DELETE": "destroy"}.get(link.method, "update"),
            "title": link.text.partition(".")[0],
        }
        if link.body is not None:
            entry["schema"] = next(of_body)
        resources.setdefault(_resource(link.path), []).append(entry)
    return {
        "$schema": "http://interagent.github.io/interagent-hyper-schema",
        "title": TITLE,
        "type": ["object"],
        "definitions": {
            **components,
            **{name: {"title": name, "type": ["object"], "links": entries} for name, entries in resources.items()},
        },
        "properties": {name: {"$ref": f"#/definitions/{name}"} for name in resources},
    }


def _name_of(link: Link) -> str:
    """`get_apps_app_dynos`: one for each operation."""
    return "_".join([link.method.lower(), *re.findall(r"[A-Za-z0-9]+", link.path)])


def _resource(path: str) -> str:
    """`/apps/{app}/dynos/{dyno}/actions/stop` is about dynos."""
    named = list(_plain(path.partition("/actions/")[0]))
    return named[-1] if named else "root"


def _plain(path: str) -> Iterator[str]:
    return (part for part in path.split("/") if part and not part.startswith("{"))


_ERROR: Final[Json] = {
    "title": "Error",
    "type": "object",
    "required": ["id", "message"],
    "properties": {
        "id": {"type": "string", "description": "What a program goes by, such as not_found"},
        "message": {"type": "string", "description": "What a person reads"},
        "resource": {"type": "string"},
        "field": {"type": "string"},
        "url": {"type": "string"},
    },
}
