"""A reload: once for what was asked, refused as a whole, and answered to systemd either way."""

import asyncio
import contextlib
from collections.abc import Mapping

from dynod.errors import SettingsError
from dynod.listeners import ListenAddress
from dynod.serve_reload import DONE, Reload, taken_now
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
