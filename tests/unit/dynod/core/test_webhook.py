"""Who is told of what, what the message says, when it is tried again; and what is refused."""

from datetime import UTC, datetime

import pytest

from dynod.core.incidents import Notice, Trouble
from dynod.core.webhook import INCLUDES, RETRIES_S, Webhook, fault_of, message, retry_s
from dynod.webhook_sender import signature

MADE = datetime(2026, 11, 23, tzinfo=UTC)


def webhook(*include: str, app_id: str = "id-1") -> Webhook:
    return Webhook(
        id="hook",
        app_id=app_id,
        url="https://example.com/",
        include=include,
        level="notify",
        secret="s",
        authorization="",
        created_at=MADE,
        updated_at=MADE,
    )


def notice(trouble: Trouble = Trouble.CRASHED, *, app: str = "id-1", recovered: bool = False) -> Notice:
    return Notice(
        app=app, trouble=trouble, subject="worker.1", recovered=recovered, detail="status 1", since=0.0, times=1
    )


@pytest.mark.parametrize("trouble", Trouble)
def test_each_trouble_can_be_asked_for(trouble: Trouble) -> None:
    names = [name for name, troubles in INCLUDES.items() if trouble in troubles]
    assert names
    assert all(webhook(name).wants(notice(trouble)) for name in names)
    assert not any(webhook(name).wants(notice(trouble)) for name in INCLUDES if name not in names)


def test_another_apps_trouble_is_not_told_and_the_daemons_is_everybodys() -> None:
    assert not webhook("api:dyno").wants(notice(app="id-2"))
    assert webhook("dynod:disk").wants(notice(Trouble.DISK, app=""))


def test_the_message_has_herokus_members() -> None:
    told = message(webhook("api:dyno"), notice(), "shop", event_id="e", delivery_id="d", at=0.0)
    assert told["resource"] == "dyno"
    assert told["webhook_metadata"] == {
        "delivery": {"id": "d"},
        "event": {"id": "e", "include": "api:dyno"},
        "webhook": {"id": "hook"},
    }
    data = told["data"]
    assert isinstance(data, dict)
    assert (data["name"], data["state"], data["recovered"]) == ("worker.1", "crashed", False)
    assert told["created_at"] == "1970-01-01T00:00:00Z"


def test_tries_are_further_and_further_apart_and_end() -> None:
    for level, most in (("notify", 2), ("sync", len(RETRIES_S))):
        waits = [retry_s(level, failures, 0.5) for failures in range(1, most + 2)]
        assert waits == [*RETRIES_S[:most], None]
    assert retry_s("sync", 1, 0.0) == pytest.approx(0.8)
    assert retry_s("sync", 1, 0.999999) == pytest.approx(1.2, abs=0.001)


@pytest.mark.parametrize(
    ("url", "include", "level", "fault"),
    [
        ("https://example.com/x?y=z", ["api:dyno", "api:release"], "sync", None),
        ("http://127.0.0.1:9/", ["dynod:disk"], "notify", None),
        ("ftp://example.com/", ["api:dyno"], "notify", "url must be an http"),
        ("https:///path", ["api:dyno"], "notify", "url must be an http"),
        ("http://[", ["api:dyno"], "notify", "url must be an http"),
        ("https://example.com/a b", ["api:dyno"], "notify", "no blanks"),
        ("https://example.com/", [], "notify", "include must be some of api:dyno"),
        ("https://example.com/", ["api:addon"], "notify", "include must be some of"),
        ("https://example.com/", ["api:dyno"], "often", "level must be notify or sync"),
    ],
)
def test_what_is_refused(url: str, include: list[str], level: str, fault: str | None) -> None:
    found = fault_of(url, include, level)
    assert found is None if fault is None else fault in (found or "")


def test_the_signature_is_the_one_of_rfc_4231() -> None:
    """Test case 2: key "Jefe"; in base64, as Heroku has it."""
    assert signature("Jefe", b"what do ya want for nothing?") == "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
    # bytes 5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843
