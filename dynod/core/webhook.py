"""A webhook: who wants to be told of what, what the message says, and when it is tried again. Pure.

Flow: notices of `core/incidents` → **webhook** → sender. Names, members and headers are Heroku's (Dev Center, "App
Webhooks"); what is sent is dynod's choice: the begin and the end of what somebody has to look at, nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from dynod.core.incidents import Notice, Trouble

LEVELS: Final = ("notify", "sync")
MOST_WEBHOOKS: Final = 10  # of an app
LONGEST_URL: Final = 2000
SIGNATURE: Final = "Heroku-Webhook-Hmac-SHA256"
# What may be included, and of which troubles that tells.
INCLUDES: Final[Mapping[str, frozenset[Trouble]]] = {
    "api:dyno": frozenset({Trouble.CRASHED, Trouble.MEMORY}),
    "dyno": frozenset({Trouble.CRASHED, Trouble.MEMORY}),
    "api:release": frozenset({Trouble.RELEASE}),
    "dynod:drain": frozenset({Trouble.DRAIN}),
    "dynod:disk": frozenset({Trouble.DISK}),
}
# Seconds before each further try; `notify` is given up after the first two of them.
RETRIES_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 7200.0)
NOTIFY_RETRIES: Final = 2
JITTER: Final = 0.2
_RESOURCES: Final = {
    Trouble.CRASHED: "dyno",
    Trouble.MEMORY: "dyno",
    Trouble.RELEASE: "release",
    Trouble.DRAIN: "log-drain",
    Trouble.DISK: "disk",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """`secret` signs the body; `authorization` is sent as it is, "" for none."""

    id: str
    app_id: str
    url: str
    include: tuple[str, ...]
    level: str
    secret: str = field(repr=False)
    authorization: str = field(repr=False)
    created_at: datetime
    updated_at: datetime

    def wants(self, notice: Notice) -> bool:
        """Whether it is to be told."""
        return notice.app in {"", self.app_id} and any(notice.trouble in INCLUDES[name] for name in self.include)


def fault_of(url: str, include: Sequence[str], level: str) -> str | None:
    """What is wrong with a webhook that somebody asks for; None: nothing."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return "url must be an http or https URL"
    if parts.scheme not in {"http", "https"} or not parts.hostname or len(url) > LONGEST_URL:
        return "url must be an http or https URL"
    if not url.isprintable() or " " in url:
        return "url must hold no blanks and nothing that is not printable"
    unknown = [name for name in include if name not in INCLUDES]
    if unknown or not include:
        return f"include must be some of {', '.join(INCLUDES)}"
    return None if level in LEVELS else f"level must be {' or '.join(LEVELS)}"


def message(
    webhook: Webhook, notice: Notice, app_name: str, *, event_id: str, delivery_id: str, at: float
) -> dict[str, object]:
    """The body, as Heroku's are. `at` is epoch seconds."""
    now = _time(at)
    include = next(name for name in webhook.include if notice.trouble in INCLUDES[name])
    return {
        "action": "update",
        "actor": {"email": "dynod@localhost", "id": None},
        "created_at": now,
        "id": event_id,
        "data": {
            "app": {"id": webhook.app_id, "name": app_name},
            "name": notice.subject,
            "state": _state(notice),
            "trouble": notice.trouble.value,
            "recovered": notice.recovered,
            "detail": notice.detail,
            "times": notice.times,
        },
        "previous_data": {},
        "published_at": now,
        "resource": _RESOURCES[notice.trouble],
        "sequence": None,
        "updated_at": now,
        "version": "application/vnd.heroku+json; version=3",
        "webhook_metadata": {
            "delivery": {"id": delivery_id},
            "event": {"id": event_id, "include": include},
            "webhook": {"id": webhook.id},
        },
    }


def retry_s(level: str, failures: int, chance: float) -> float | None:
    """How long to wait after so many tries have failed; None: it is given up. `chance` is from 0 up to 1."""
    most = len(RETRIES_S) if level == "sync" else NOTIFY_RETRIES
    if failures > most:
        return None
    return RETRIES_S[failures - 1] * (1 + JITTER * (2 * chance - 1))


def _state(notice: Notice) -> str:
    if notice.trouble is Trouble.CRASHED:
        return "up" if notice.recovered else "crashed"
    if notice.trouble is Trouble.RELEASE:
        return "succeeded" if notice.recovered else "failed"
    return "well" if notice.recovered else "failing"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
