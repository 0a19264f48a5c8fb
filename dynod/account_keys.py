"""Keys of ssh: added, listed, removed, and recognised when `ssh-serve` comes with one. Each belongs to a user.

Flow: `keys:add` → platform_api → **account keys** → store; sshd → `ssh-authorized-keys` → the same, read. What a key
may do is what a token of its scope may (`core/api_access`). May import operations, store, core.
"""

from dynod.core.api_token import Scope
from dynod.core.ssh_key import KeyRefusedError, SshKey, parse_public_key
from dynod.operations import NotFoundError, Operations
from dynod.store.audit import actor
from dynod.store.store import Store

LONGEST_USER = 64  # characters


class AccountKeys:
    """Every key of the daemon."""

    def __init__(self, operations: Operations, store: Store) -> None:
        self._operations = operations
        self._store = store

    async def all(self) -> tuple[SshKey, ...]:
        """Oldest first. Raises StoreError."""
        return await self._store.ssh_keys.all()

    async def of(self, user: str) -> tuple[SshKey, ...]:
        """Those of one user. Raises StoreError."""
        return tuple(key for key in await self.all() if key.user == user)

    async def info(self, ref: str) -> SshKey:
        """One, by id or fingerprint. Raises NotFoundError, StoreError."""
        for key in await self.all():
            if ref in {key.id, key.key.fingerprint}:
                return key
        raise NotFoundError("Couldn't find that key.", "key")

    async def find(self, key_id: str) -> SshKey | None:
        """The key of this id, if it still is one. Raises StoreError."""
        return await self._store.ssh_keys.find(key_id)

    async def add(self, text: str, *, user: str, scope: Scope, app: str | None, by: str) -> SshKey:
        """Whoever has this key is that user from now on. Raises KeyRefusedError, NotFoundError, StoreError."""
        if not (user.isprintable() and 0 < len(user) <= LONGEST_USER):
            raise KeyRefusedError(f"A user's name is one line of at most {LONGEST_USER} characters.")
        if app is not None and scope is Scope.ADMIN:
            raise KeyRefusedError("A key of one app cannot be an admin's: expected read or deploy.")
        app_id = self._operations.app(app).id if app is not None else None
        key = parse_public_key(text)
        return await self._store.ssh_keys.add(key, user=str(user), scope=scope, app_id=app_id, by=actor(by))

    async def remove(self, ref: str, *, by: str) -> SshKey:
        """It opens nothing any more, on connections that are open already neither. Raises NotFoundError, StoreError."""
        key = await self.info(ref)
        await self._store.ssh_keys.remove(key, by=actor(by))
        return key
