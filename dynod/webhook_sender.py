"""Sends webhooks: a queue and a task for each, which tries again and gives up, and what became of the last ones.

Flow: notices → **webhook sender** → receivers. What is said and when to try again is `core/webhook`'s. Redirects are
not followed and answers not read. A receiver that is away delays its own messages alone. What waits dies with the core:
the incident's next begin or end is told all the same.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from dynod.core.incidents import Notice
from dynod.core.webhook import SIGNATURE, Webhook, message, retry_s

WAITING: Final = 100  # messages of one webhook; above that the oldest is dropped
KEPT: Final = 100  # deliveries that are shown, of one webhook
ANSWER_S: Final = 10.0
USER_AGENT: Final = "Heroku-Webhooks/dynod"
SUCCESS: Final = range(200, 300)


@dataclass(slots=True, kw_only=True)
class Sending:
    """A message, and what has become of it. Times are epoch seconds."""

    id: str
    event_id: str
    webhook_id: str
    notice: Notice
    body: bytes
    created_at: float
    status: str = "pending"  # Heroku's: pending, retrying, succeeded, failed
    tries: int = 0
    last_code: int | None = None
    last_error: str = ""
    next_at: float | None = None


class WebhookSender:
    """Owned by the daemon; its tasks live in the daemon's group."""

    def __init__(
        self, group: asyncio.TaskGroup, *, name_of: Callable[[str], str | None], random: Callable[[], float]
    ) -> None:
        """`name_of` gives the name of an app by its id."""
        self.dropped = 0
        self._group = group
        self._name_of = name_of
        self._random = random
        self._webhooks: dict[str, Webhook] = {}
        self._waiting: dict[str, deque[Sending]] = {}
        self._past: dict[str, deque[Sending]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def know(self, webhooks: Iterable[Webhook]) -> None:
        """These are all that there are."""
        self._webhooks = {webhook.id: webhook for webhook in webhooks}
        for id_ in [id_ for id_ in self._past if id_ not in self._webhooks]:
            del self._past[id_]
            self._waiting.pop(id_, None)
            if (task := self._tasks.pop(id_, None)) is not None:
                task.cancel()

    def tell(self, notice: Notice) -> None:
        """Tell everybody who wants to know."""
        for webhook in self._webhooks.values():
            if webhook.wants(notice):
                self._queue(webhook, notice)

    def deliveries(self, webhook_ids: Iterable[str]) -> Sequence[Sending]:
        """The last messages of these, newest first."""
        found = [sending for id_ in webhook_ids for sending in self._past.get(id_, ())]
        return sorted(found, key=lambda sending: sending.created_at, reverse=True)

    async def close(self) -> None:
        """What waits is given up."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        self._tasks.clear()

    def _queue(self, webhook: Webhook, notice: Notice) -> None:
        event_id, id_, now = str(uuid.uuid4()), str(uuid.uuid4()), time.time()
        name = self._name_of(webhook.app_id) or ""
        document = message(webhook, notice, name, event_id=event_id, delivery_id=id_, at=now)
        sending = Sending(
            id=id_,
            event_id=event_id,
            webhook_id=webhook.id,
            notice=notice,
            body=json.dumps(document).encode(),
            created_at=now,
        )
        waiting = self._waiting.setdefault(webhook.id, deque())
        if len(waiting) >= WAITING:
            waiting.popleft().status = "failed"
            self.dropped += 1
        waiting.append(sending)
        self._past.setdefault(webhook.id, deque(maxlen=KEPT)).append(sending)
        if webhook.id not in self._tasks:
            self._tasks[webhook.id] = self._group.create_task(self._send_all(webhook), name=f"webhook:{webhook.id}")

    async def _send_all(self, webhook: Webhook) -> None:
        """Until nothing waits."""
        waiting = self._waiting[webhook.id]
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                while waiting:
                    sending = waiting.popleft()
                    while not await self._try(session, webhook, sending):
                        wait_s = retry_s(webhook.level, sending.tries, self._random())
                        if wait_s is None:
                            sending.status = "failed"
                            break
                        sending.status, sending.next_at = "retrying", time.time() + wait_s
                        await asyncio.sleep(wait_s)
        finally:
            if self._tasks.get(webhook.id) is asyncio.current_task():
                del self._tasks[webhook.id]

    @staticmethod
    async def _try(session: aiohttp.ClientSession, webhook: Webhook, sending: Sending) -> bool:
        sending.tries += 1
        sending.next_at = sending.last_code = None
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            SIGNATURE: signature(webhook.secret, sending.body),
        }
        if webhook.authorization:
            headers["Authorization"] = webhook.authorization
        try:
            url = URL(webhook.url, encoded=True)
            async with session.post(url, data=sending.body, headers=headers, allow_redirects=False) as answer:
                sending.last_code = answer.status
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            # aiohttp's messages quote the URL, with its secrets.
            sending.last_error = "no answer in time" if isinstance(error, TimeoutError) else "no connection"
            return False
        if sending.last_code not in SUCCESS:
            sending.last_error = f"answered with {sending.last_code}"
            return False
        sending.status, sending.last_error = "succeeded", ""
        return True


def signature(secret: str, body: bytes) -> str:
    """Heroku: the HMAC-SHA256 of the body, in base64."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
