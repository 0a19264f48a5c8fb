"""The webhooks of apps: added, removed, shown, and the sender told before it is answered.

Flow: platform_api → **app webhooks** → store, then sender.
"""

import secrets
from collections.abc import Sequence

from dynod.core.suggest import not_found
from dynod.core.webhook import Webhook, fault_of
from dynod.operations import AppView, InvalidError, NotFoundError, Operations
from dynod.store.audit import actor
from dynod.store.store import Store
from dynod.webhook_sender import Sending, WebhookSender

SECRET_BYTES = 32
LONGEST_TEXT = 1000  # characters of a secret, or of a header


class AppWebhooks:
    """Of every app of the daemon."""

    def __init__(self, operations: Operations, store: Store, sender: WebhookSender) -> None:
        self._operations = operations
        self._store = store
        self._sender = sender

    async def load(self) -> None:
        """Tell the sender of all that there are. Raises StoreError."""
        self._sender.know(await self._store.webhooks.all())

    def app(self, ref: str) -> AppView:
        """Whose they are. Raises NotFoundError."""
        return self._operations.app(ref)

    async def of(self, ref: str) -> Sequence[Webhook]:
        """Those of the app. Raises NotFoundError, StoreError."""
        return await self._store.webhooks.of(self._operations.find(ref).id)

    async def one(self, ref: str, webhook_id: str) -> Webhook:
        """One of them. Raises NotFoundError, StoreError."""
        known = await self.of(ref)
        found = next((each for each in known if each.id == webhook_id), None)
        if found is None:
            raise NotFoundError(not_found("app webhook", webhook_id, [each.id for each in known]), "app_webhook")
        return found

    async def add(
        self,
        ref: str,
        *,
        url: str,
        include: Sequence[str],
        level: str,
        secret: str | None,
        authorization: str | None,
        by: str,
    ) -> Webhook:
        """A new one; without a secret it gets one. Raises NotFoundError, InvalidError, StoreError."""
        app = self._operations.find(ref)
        wanted = tuple(dict.fromkeys(include))
        fault = fault_of(url, wanted, level)
        for text in (secret or "", authorization or ""):
            if len(text) > LONGEST_TEXT or not text.isprintable() or not text.isascii():
                fault = "secret and authorization must be printable ASCII"
        if fault is not None:
            raise InvalidError(f"{fault}.")
        async with self._operations.changing(app):
            made = await self._store.webhooks.add(
                app.id,
                url=url,
                include=wanted,
                level=level,
                secret=secret or secrets.token_hex(SECRET_BYTES),
                authorization=authorization or "",
                by=actor(by),
            )
            await self.load()
            return made

    async def remove(self, ref: str, webhook_id: str, *, by: str) -> Webhook:
        """Tell it nothing more; returns what it was. Raises NotFoundError, StoreError."""
        webhook = await self.one(ref, webhook_id)
        await self._store.webhooks.remove(webhook, by=actor(by))
        await self.load()
        return webhook

    async def deliveries(self, ref: str) -> Sequence[Sending]:
        """The last messages of the app's webhooks, newest first. Raises NotFoundError, StoreError."""
        return self._sender.deliveries([each.id for each in await self.of(ref)])
