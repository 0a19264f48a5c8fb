"""Open incidents and unsent messages, as a later core finds them in the keeper's notes."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dynod.core.incidents import MOST_OPEN, Incidents, Notice, Trouble
from dynod.core.losses import Loss
from dynod.core.webhook import Webhook
from dynod.kept_troubles import KeptIncidents, KeptMessages
from dynod.webhook_sender import WAITING, Sending, WebhookSender


class Notes:
    """The keeper's."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {"serve": "another's"}

    def put(self, key: str, value: str | None) -> None:
        if value is None:
            self.stored.pop(key, None)
        else:
            self.stored[key] = value


def next_core(stored: Mapping[str, str]) -> Incidents:
    return Incidents(KeptIncidents(stored, lambda _key, _value: None).found())


Step = tuple[str, str, Trouble, str, float]
OPERATIONS = st.tuples(
    st.sampled_from(["failed", "well", "gone", "due", "core"]),
    st.sampled_from(["", "shop", "blog"]),
    st.sampled_from(list(Trouble)),
    st.sampled_from(["", "web.1", "syslog://h:1/?a=b:c"]),
    st.floats(min_value=0, max_value=900),
)


@given(st.lists(OPERATIONS))
def test_incidents_go_on_over_cores_as_if_there_had_been_one(
    history: list[tuple[str, str, Trouble, str, float]],
) -> None:
    notes, one, many, now = Notes(), Incidents(), Incidents(), 0.0
    for what, app, trouble, subject, seconds in history:
        now += seconds
        told: list[list[Notice | None]] = []
        for incidents in (one, many):
            match what:
                case "failed":
                    told.append([incidents.failed(app, trouble, subject, f"é {now}", now)])
                case "well":
                    incidents.well(app, trouble, subject, now)
                case "gone":
                    incidents.gone(app, subject)
                case "due":
                    told.append(list(incidents.due(now)))
        assert told[1:] == told[:1]
        KeptIncidents({}, notes.put).keep(many.changes())
        if what == "core":
            many = next_core(notes.stored)
        assert many.next_due() == one.next_due()


def test_open_incidents_are_bounded() -> None:
    notes, incidents = Notes(), Incidents()
    for number in range(MOST_OPEN + 2):
        assert incidents.failed("shop", Trouble.CRASHED, f"web.{number}", "", float(number)) is not None
        KeptIncidents({}, notes.put).keep(incidents.changes())
    assert (len(notes.stored), incidents.dropped) == (MOST_OPEN + 1, 2)
    assert incidents.failed("shop", Trouble.CRASHED, "web.0", "", 5000.0) is not None, "the oldest was forgotten"


def test_a_message_is_found_as_it_was() -> None:
    notes = Notes()
    kept = KeptMessages({}, notes.put)
    older, newer = (
        Sending(
            id=f"message-{at}",
            event_id="event",
            webhook_id="hook",
            trouble=Trouble.CRASHED,
            body=f'{{"é": {at}}}'.encode(),
            created_at=float(at),
            status="retrying",
            tries=2,
            last_error="no connection",
            next_at=9.5,
        )
        for at in (1, 2)
    )
    kept.keep(newer)
    kept.keep(older)
    assert KeptMessages(notes.stored, notes.put).found() == [older, newer]
    kept.drop(older)
    assert KeptMessages(notes.stored, notes.put).found() == [newer]


def test_a_message_of_a_webhook_that_is_gone_is_forgotten() -> None:
    notes = Notes()
    sending = Sending(
        id="message", event_id="event", webhook_id="hook", trouble=Trouble.DISK, body=b"{}", created_at=1.0
    )
    KeptMessages({}, notes.put).keep(sending)

    async def core() -> None:
        async with asyncio.TaskGroup() as group:
            kept = KeptMessages(notes.stored, notes.put)
            sender = WebhookSender(group, name_of=lambda _id: "shop", random=lambda: 0.5, notes=kept)
            sender.know([])
            assert sender.deliveries(["hook"]) == []

    asyncio.run(core())
    assert notes.stored == {"serve": "another's"}


def test_messages_beyond_the_bound_are_given_up_and_told_of() -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    webhook = Webhook(
        id="hook",
        app_id="shop",
        url="http://127.0.0.1:9/",
        include=("api:release",),
        level="sync",
        secret="",
        authorization="",
        created_at=at,
        updated_at=at,
    )
    notice = Notice(app="shop", trouble=Trouble.RELEASE, subject="v3", recovered=False, detail="", since=0.0, times=1)
    lost: list[Loss] = []

    async def core() -> None:
        async with asyncio.TaskGroup() as group:
            sender = WebhookSender(
                group,
                name_of=lambda _id: "shop",
                random=lambda: 0.5,
                notes=KeptMessages({}, lambda _key, _value: None),
                lose=lambda what, _count: lost.append(what),
            )
            sender.know([webhook])
            for _ in range(WAITING + 2):
                sender.tell(notice)
            await sender.close()

    asyncio.run(core())
    assert lost == [Loss.WEBHOOK_MESSAGES] * 2
