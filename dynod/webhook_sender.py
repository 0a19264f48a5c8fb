"""Sends webhooks: a queue and a task for each, which tries again and gives up, and what became of the last ones.

Flow: notices → **webhook sender** → receivers. What is said and when to try again is `core/webhook`'s. Redirects are
not followed and answers not read. A receiver that is away delays its own messages alone. What waits is kept outside of
the core, so that the next one sends it; a message that was being sent when a core died may come twice, with one id.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp
from yarl import URL

from dynod.core.incidents import Notice, Trouble
from dynod.core.losses import Lose, Loss, unheeded
from dynod.core.webhook import RETRIES_S, SIGNATURE, Webhook, message, retry_s

WAITING: Final = 100  # messages of one webhook; above that the oldest is dropped
KEPT: Final = 100  # deliveries that are shown, of one webhook
ANSWER_S: Final = 10.0
LONGEST_WAIT_S: Final = 2 * max(RETRIES_S)  # a clock that was set meanwhile delays no message for ever
USER_AGENT: Final = "Heroku-Webhooks/dynod"
SUCCESS: Final = range(200, 300)


@dataclass(slots=True, kw_only=True)
class Sending:
    """A message, and what has become of it. Times are epoch seconds."""

    id: str
    event_id: str
    webhook_id: str
    trouble: Trouble
    body: bytes
    created_at: float
    status: str = "pending"  # Heroku's: pending, retrying, succeeded, failed
    tries: int = 0
    last_code: int | None = None
    last_error: str = ""
    next_at: float | None = None


class MessageNotes(Protocol):
    """Where messages outlive a core."""

    def found(self) -> Sequence[Sending]:
        """Those that an earlier core has left, in their order."""

    def keep(self, sending: Sending) -> None:
        """It waits, or will be tried again."""

    def drop(self, sending: Sending) -> None:
        """It has been taken, or given up."""


class WebhookSender:
    """Owned by the daemon; its tasks live in the daemon's group."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        *,
        name_of: Callable[[str], str | None],
        random: Callable[[], float],
        notes: MessageNotes,
        lose: Lose = unheeded,
    ) -> None:
        """`name_of` gives the name of an app by its id. Nothing is told before `know` has been called."""
        self._lose = lose
        self._group = group
        self._name_of = name_of
        self._random = random
        self._notes = notes
        self._left = list(notes.found())
        self._webhooks: dict[str, Webhook] = {}
        self._waiting: dict[str, deque[Sending]] = {}
        self._past: dict[str, deque[Sending]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def know(self, webhooks: Iterable[Webhook]) -> None:
        """These are all that there are."""
        self._webhooks = {webhook.id: webhook for webhook in webhooks}
        for id_ in [id_ for id_ in self._past if id_ not in self._webhooks]:
            for sending in self._past.pop(id_):
                self._notes.drop(sending)
            self._waiting.pop(id_, None)
            if (task := self._tasks.pop(id_, None)) is not None:
                task.cancel()
        left, self._left = self._left, []
        for sending in left:
            if (webhook := self._webhooks.get(sending.webhook_id)) is not None:
                self._add(webhook, sending)
            else:
                self._notes.drop(sending)

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
            trouble=notice.trouble,
            body=json.dumps(document).encode(),
            created_at=now,
        )
        self._notes.keep(sending)
        self._add(webhook, sending)

    def _add(self, webhook: Webhook, sending: Sending) -> None:
        waiting = self._waiting.setdefault(webhook.id, deque())
        if len(waiting) >= WAITING:
            self._end(waiting.popleft(), "failed")
            self._lose(Loss.WEBHOOK_MESSAGES, 1)
        waiting.append(sending)
        self._past.setdefault(webhook.id, deque(maxlen=KEPT)).append(sending)
        if webhook.id not in self._tasks:
            self._tasks[webhook.id] = self._group.create_task(self._send_all(webhook), name=f"webhook:{webhook.id}")

    def _end(self, sending: Sending, status: str) -> None:
        sending.status = status
        self._notes.drop(sending)

    async def _send_all(self, webhook: Webhook) -> None:
        """Until nothing waits."""
        waiting = self._waiting[webhook.id]
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            is_secure = webhook.url.lower().startswith("https:")
            trust = await asyncio.to_thread(ssl.create_default_context) if is_secure else True
            connector = aiohttp.TCPConnector(ssl=trust)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                while waiting:
                    sending = waiting.popleft()
                    if sending.next_at is not None:  # of an earlier core, which has waited for a part of it
                        await asyncio.sleep(min(max(0.0, sending.next_at - time.time()), LONGEST_WAIT_S))
                    while not await self._try(session, webhook, sending):
                        wait_s = retry_s(webhook.level, sending.tries, self._random())
                        if wait_s is None:
                            self._end(sending, "failed")
                            break
                        sending.status, sending.next_at = "retrying", time.time() + wait_s
                        self._notes.keep(sending)
                        await asyncio.sleep(wait_s)
                    else:
                        self._end(sending, "succeeded")
                self._tasks.pop(webhook.id, None)  # whoever is told from now on begins another: closing takes a while
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
        sending.last_error = ""
        return True


def signature(secret: str, body: bytes) -> str:
    """Heroku: the HMAC-SHA256 of the body, in base64."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
