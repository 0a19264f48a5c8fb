"""Tokens in the store: only their hash, one of a purpose, gone with their app; and both keepers of them agree."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dynod.access import Access, TokenKeeper
from dynod.core.api_token import MOST_TOKENS, NOTED_EVERY, PREFIX, ApiToken, Scope, TokenRefusedError, hash_of
from dynod.core.asker import Asker
from dynod.store.audit import Actor
from dynod.store.errors import StoreError, UnknownAppError
from dynod.store.store import Store
from dynod.up_tokens import KeptTokens

ME = Asker("me", "unix uid 1000")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def keepers(folder: Path) -> list[TokenKeeper]:
    return [Store.open(folder).tokens, KeptTokens(None, lambda _key, _note: None)]


@pytest.mark.parametrize("which", [0, 1], ids=["store", "up"])
def test_a_token_is_recognised_until_it_is_revoked(tmp_path: Path, which: int) -> None:
    async def run() -> None:
        clock = Clock()
        access = Access(keepers(tmp_path)[which], clock=clock)
        made = await access.create(by=ME, scope=Scope.DEPLOY, description="CI")
        assert made.secret.startswith(PREFIX)
        assert len(made.secret) == len(PREFIX) + 43
        found = await access.recognise(made.secret)
        assert found == made.token
        assert (made.token.user, made.token.scope, made.token.description) == ("me", Scope.DEPLOY, "CI")
        for wrong in ("", made.secret[:-1], made.secret + "x", made.token.hash, made.token.id, "\ud800"):
            assert await access.recognise(wrong) is None
        clock.now += NOTED_EVERY - timedelta(seconds=1)
        again = await access.recognise(made.secret)
        assert again is not None
        assert again.used_at == NOW  # noted at most once a minute
        clock.now += timedelta(seconds=1)
        await access.recognise(made.secret)
        assert (await access.tokens())[0].used_at == NOW + NOTED_EVERY
        assert await access.revoke("nothing", by=ME) is None
        revoked = await access.revoke(made.token.id, by=ME)
        assert revoked is not None
        assert revoked.id == made.token.id
        assert await access.recognise(made.secret) is None
        assert await access.tokens() == ()

    asyncio.run(run())


@pytest.mark.parametrize("which", [0, 1], ids=["store", "up"])
def test_a_new_one_takes_the_place_of_the_one_of_its_purpose(tmp_path: Path, which: int) -> None:
    async def run() -> None:
        access = Access(keepers(tmp_path)[which])
        other = await access.create(by=ME, purpose="other")
        nameless = [await access.create(by=ME), await access.create(by=ME)]
        old = await access.create(by=ME, purpose="mine")
        new = await access.create(by=ME, purpose="mine")
        assert await access.recognise(old.secret) is None
        for each in (other, *nameless, new):
            assert await access.recognise(each.secret) is not None
        assert len(await access.tokens()) == 4

    asyncio.run(run())


@pytest.mark.parametrize("which", [0, 1], ids=["store", "up"])
def test_what_cannot_be_a_token_is_refused(tmp_path: Path, which: int) -> None:
    async def run() -> None:
        keeper = keepers(tmp_path)[which]
        access = Access(keeper)
        for description in ("a\nb", "x" * 201):
            with pytest.raises(TokenRefusedError):
                await access.create(by=ME, description=description)
        with pytest.raises(TokenRefusedError):
            await access.create(by=ME, scope=Scope.ADMIN, app_id="some")
        assert await access.tokens() == ()

    asyncio.run(run())


def test_there_are_not_more_than_so_many() -> None:
    async def run() -> None:
        access = Access(KeptTokens(None, lambda _key, _note: None))
        for _ in range(MOST_TOKENS):
            await access.create(by=ME, purpose=None)
        with pytest.raises(TokenRefusedError):
            await access.create(by=ME)

    asyncio.run(run())


def test_tokens_of_up_survive_its_core() -> None:
    async def run() -> None:
        notes: dict[str, str] = {}
        made = await Access(KeptTokens(None, notes.__setitem__)).create(by=ME, scope=Scope.READ, app_id="an-app")
        assert made.secret not in str(notes)
        found = await Access(KeptTokens(notes["tokens"], notes.__setitem__)).recognise(made.secret)
        assert found == made.token

    asyncio.run(run())


def test_no_file_of_the_state_holds_a_token(tmp_path: Path) -> None:
    async def run() -> None:
        store = Store.open(tmp_path)
        access = Access(store.tokens)
        made = await access.create(by=ME)
        await access.recognise(made.secret)
        entry = (await store.audit.newest())[0]
        assert (entry.action, entry.actor) == ("token.create", Actor(name="me", origin="unix uid 1000"))
        assert entry.detail == f"{made.token.id} admin for me"
        store.close()
        secrets.append(made.secret)

    secrets: list[str] = []
    asyncio.run(run())
    contents = b"".join(path.read_bytes() for path in tmp_path.rglob("*"))
    assert secrets[0].removeprefix(PREFIX).encode() not in contents
    assert hash_of(secrets[0]).encode() in contents


def test_tokens_of_an_app_go_with_it(tmp_path: Path) -> None:
    async def run() -> None:
        store = Store.open(tmp_path)
        access = Access(store.tokens)
        app = await store.apps.create("shop", by=Actor(name="me", origin="test"))
        made = await access.create(by=ME, scope=Scope.READ, app_id=app.id)
        assert made.token.app_id == app.id
        await store.apps.destroy(app.id, by=Actor(name="me", origin="test"))
        assert await access.recognise(made.secret) is None
        with pytest.raises(UnknownAppError):
            await access.create(by=ME, scope=Scope.READ, app_id=app.id)
        store.close()

    asyncio.run(run())


class FullDisk(KeptTokens):
    async def note_use(self, token: ApiToken, at: datetime) -> None:
        raise StoreError(f"the disk is full: {token.id} {at}")


def test_who_is_known_is_let_in_although_the_use_cannot_be_noted() -> None:
    async def run() -> None:
        access = Access(FullDisk(None, lambda _key, _note: None))
        made = await access.create(by=ME)
        assert await access.recognise(made.secret) == made.token

    asyncio.run(run())
