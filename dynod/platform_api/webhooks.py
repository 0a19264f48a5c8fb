"""`/apps/:app/webhooks` and `/apps/:app/webhook-deliveries`: who is told when something goes wrong."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from aiohttp import web

from dynod.core.webhook import Webhook
from dynod.platform_api.exchange import answer, answer_list, member, read_body, stored
from dynod.platform_api.peer import asker
from dynod.platform_api.serializers import Json, time_text
from dynod.webhook_sender import Sending

ATTRIBUTES: Final = (member("id"),)
SECRET_HEADER: Final = "Heroku-Webhook-Secret"  # noqa: S105 (a name)

routes = web.RouteTableDef()


class NewWebhook(msgspec.Struct, frozen=True):
    """The body of POST."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    include: Annotated[list[str], msgspec.Meta(max_length=20)]
    level: str = "notify"
    secret: str | None = None
    authorization: str | None = None


@routes.get("/apps/{app}/webhooks")
async def list_webhooks(request: web.Request) -> web.Response:
    """Every webhook of the app."""
    webhooks = stored(request).webhooks
    app = webhooks.app(request.match_info["app"])
    return answer_list(request, [_webhook(each, app.name) for each in await webhooks.of(app.id)], ATTRIBUTES)


@routes.post("/apps/{app}/webhooks")
async def add(request: web.Request) -> web.Response:
    """A new webhook; the secret that signs is in a header of this answer alone."""
    webhooks = stored(request).webhooks
    app = webhooks.app(request.match_info["app"])
    body = await read_body(request, NewWebhook)
    made = await webhooks.add(
        app.id,
        url=body.url,
        include=body.include,
        level=body.level,
        secret=body.secret,
        authorization=body.authorization,
        by=asker(request),
    )
    response = answer(_webhook(made, app.name), HTTPStatus.CREATED)
    response.headers[SECRET_HEADER] = made.secret
    return response


@routes.get("/apps/{app}/webhooks/{webhook}")
async def info(request: web.Request) -> web.Response:
    """One webhook."""
    webhooks = stored(request).webhooks
    app = webhooks.app(request.match_info["app"])
    return answer(_webhook(await webhooks.one(app.id, request.match_info["webhook"]), app.name))


@routes.delete("/apps/{app}/webhooks/{webhook}")
async def remove(request: web.Request) -> web.Response:
    """Tell it nothing more; answers with what it was."""
    webhooks = stored(request).webhooks
    app = webhooks.app(request.match_info["app"])
    removed = await webhooks.remove(app.id, request.match_info["webhook"], by=asker(request))
    return answer(_webhook(removed, app.name))


@routes.get("/apps/{app}/webhook-deliveries")
async def deliveries(request: web.Request) -> web.Response:
    """The last messages, and what became of them."""
    webhooks = stored(request).webhooks
    found = await webhooks.deliveries(request.match_info["app"])
    return answer_list(request, [_delivery(each) for each in found], ATTRIBUTES)


def _webhook(webhook: Webhook, app_name: str) -> Json:
    return {
        "app": {"id": webhook.app_id, "name": app_name},
        "created_at": time_text(webhook.created_at),
        "id": webhook.id,
        "include": list(webhook.include),
        "level": webhook.level,
        "updated_at": time_text(webhook.updated_at),
        "url": webhook.url,
    }


def _delivery(sending: Sending) -> Json:
    attempt: Json | None = None
    if sending.tries:
        attempt = {"code": sending.last_code, "error_class": sending.last_error or None, "status": sending.status}
    return {
        "created_at": _time(sending.created_at),
        "event": {"id": sending.event_id, "include": sending.trouble.value},
        "id": sending.id,
        "last_attempt": attempt,
        "next_attempt_at": _time(sending.next_at) if sending.next_at is not None else None,
        "num_attempts": sending.tries,
        "status": sending.status,
        "updated_at": _time(sending.created_at),
        "webhook": {"id": sending.webhook_id},
    }


def _time(at: float) -> str:
    return time_text(datetime.fromtimestamp(at, UTC))
