"""`/apps/:app/domains`: host names that lead to an app."""

from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.core.suggest import not_found
from dynod.operations import NotFoundError
from dynod.platform_api import serializers
from dynod.platform_api.exchange import answer, answer_list, member, read_body, stored
from dynod.platform_api.peer import asker
from dynod.platform_api.serializers import Json

ATTRIBUTES: Final = (member("hostname"), member("id"))

routes = web.RouteTableDef()


class NewDomain(msgspec.Struct, frozen=True):
    """The body of POST. Certificates (`sni_endpoint`) are not dynod's to give out."""

    hostname: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


@routes.get("/apps/{app}/domains")
async def list_domains(request: web.Request) -> web.Response:
    """The app's own name, and every domain."""
    return answer_list(request, await _all(request), ATTRIBUTES)


@routes.post("/apps/{app}/domains")
async def add(request: web.Request) -> web.Response:
    """A new domain."""
    domains = stored(request).domains
    body = await read_body(request, NewDomain)
    view = await domains.add(request.match_info["app"], body.hostname, by=asker(request))
    return answer(serializers.domain(view), HTTPStatus.CREATED)


@routes.get("/apps/{app}/domains/{domain}")
async def info(request: web.Request) -> web.Response:
    """One domain, by name or id."""
    wanted = request.match_info["domain"]
    documents = await _all(request)
    for document in documents:
        if wanted in {document["id"], document["hostname"]}:
            return answer(document)
    known = [str(document["hostname"]) for document in documents]
    raise NotFoundError(not_found("domain name", wanted, known), "domain")


@routes.delete("/apps/{app}/domains/{domain}")
async def remove(request: web.Request) -> web.Response:
    """Lead it nowhere; answers with what it was."""
    match = request.match_info
    return answer(
        serializers.domain(await stored(request).domains.remove(match["app"], match["domain"], by=asker(request)))
    )


async def _all(request: web.Request) -> list[Json]:
    return [serializers.domain(view) for view in await stored(request).domains.of(request.match_info["app"])]
