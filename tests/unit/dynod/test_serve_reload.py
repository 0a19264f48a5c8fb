"""A reload: once for what was asked, refused as a whole, and answered to systemd either way."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from dynod.errors import SettingsError
from dynod.listeners import ListenAddress
from dynod.serve_reload import DONE, OWED, Reload, taken_now
from dynod.settings import Dynos, Serve, Settings

OLD = Settings(serve=Serve(state="/old", apps_domain="old.example"))


class Kept:
    """A keeper that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stored: dict[str, str | None] = {}

    def notify(self, text: str) -> None:
        self.told.append(text)

    def put(self, key: str, value: str | None) -> None:
        self.stored[key] = value


async def reload(
    found: Settings | SettingsError, *, asked: int, stored: Mapping[str, str]
) -> tuple[Kept, list[Settings]]:
    keeper, applied = Kept(), list[Settings]()
    done = asyncio.Event()

    def read() -> Settings:
        if isinstance(found, SettingsError):
            raise found
        return found

    async def apply(settings: Settings) -> None:
        applied.append(settings)
        await asyncio.sleep(0)

    def put(key: str, value: str | None) -> None:
        Kept.put(keeper, key, value)
        done.set()

    keeper.put = put  # type: ignore[method-assign]  # what ends the test
    one = Reload(keeper, stored, read=read, current=lambda: OLD, apply=apply)
    for _ in range(asked):
        one.ask()
    one.begin()
    task = asyncio.create_task(one.run())
    if asked > int(stored.get(DONE, "0")):
        await asyncio.wait_for(done.wait(), 30)
    else:
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return keeper, applied


def test_settings_are_taken_and_systemd_hears_of_both_ends() -> None:
    keeper, applied = asyncio.run(reload(Settings(serve=Serve(apps_domain="new.example")), asked=2, stored={}))
    assert [one.serve.apps_domain for one in applied] == ["new.example"], "once for both"
    assert applied[0].serve.state == "/old", "a folder in use is not changed under a daemon"
    assert keeper.told[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert keeper.told[1:] == ["READY=1\nSTATUS=settings read again"]
    assert keeper.stored == {DONE: "2"}


def test_what_cannot_be_used_changes_nothing() -> None:
    keeper, applied = asyncio.run(reload(SettingsError("dynod.toml: no (at line 3)"), asked=1, stored={}))
    assert applied == []
    assert keeper.told[-1] == "READY=1\nSTATUS=reload refused, old settings stay: dynod.toml: no (at line 3)"
    assert keeper.stored == {DONE: "1"}


def test_a_reload_that_an_earlier_core_has_done_is_not_done_again() -> None:
    keeper, applied = asyncio.run(reload(Settings(), asked=3, stored={DONE: "3"}))
    assert (applied, keeper.told) == ([], [])


def test_what_a_daemon_holds_on_to_waits_and_is_named() -> None:
    new = Settings(
        serve=Serve(state="/new", listen=(ListenAddress(host=None, port=80),), apps_domain="new.example"),
        dynos=Dynos(starts_at_once=3, rules={"grace_s": 5.0}),
    )
    taken, later = taken_now(OLD, new)
    assert later == ["serve.listen", "serve.state", "dynos.starts_at_once"]
    assert taken.serve == Serve(state="/old", apps_domain="new.example")
    assert taken.dynos == Dynos(rules={"grace_s": 5.0})


async def reload_with(stored: Mapping[str, str], *, asked: int, refused: str) -> tuple[Kept, list[str]]:
    """Where another version is installed, which cannot take over. What was done, in order."""
    keeper, did = Kept(), list[str]()
    done = asyncio.Event()

    async def apply(_settings: Settings) -> None:
        did.append("settings")

    async def upgrade(there: Path) -> str:
        did.append(f"upgrade to {there}, {keeper.stored}")
        return refused

    def put(key: str, value: str | None) -> None:
        Kept.put(keeper, key, value)
        if (key, value) == (OWED, None):
            done.set()

    keeper.put = put  # type: ignore[method-assign]  # what ends the test
    one = Reload(
        keeper,
        stored,
        read=Settings,
        current=lambda: OLD,
        apply=apply,
        other_version=lambda: Path("/opt/dynod/2"),
        upgrade=upgrade,
    )
    for _ in range(asked):
        one.ask()
    task = asyncio.create_task(one.run())
    await asyncio.sleep(0)
    assert not did, "not before it is in control"
    one.begin()
    await asyncio.wait_for(done.wait(), 30)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return keeper, did


def test_another_version_is_to_take_over_and_where_it_cannot_this_one_reads_the_settings() -> None:
    keeper, did = asyncio.run(reload_with({}, asked=1, refused="it died"))
    # Noted before it is tried: a version that takes over and fails must not be tried again for the same SIGHUP.
    assert did == [f"upgrade to /opt/dynod/2, {{'{DONE}': '1', '{OWED}': ''}}", "settings"]
    assert keeper.told[0] == "STATUS=upgrading to 2"
    assert keeper.told[-1] == "READY=1\nSTATUS=upgrade to 2 refused: it died"
    assert keeper.stored == {DONE: "1", OWED: None}


def test_a_core_that_has_taken_over_reads_the_settings_and_tries_no_other_version() -> None:
    keeper, did = asyncio.run(reload_with({DONE: "1", OWED: ""}, asked=1, refused="never asked"))
    assert did == ["settings"]
    assert keeper.told[-1] == "READY=1\nSTATUS=settings read again"
