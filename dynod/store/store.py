"""What dynod keeps, in one value: a door to each aggregate."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from dynod.store.app_settings import AppSettings
from dynod.store.app_users import AppUsers
from dynod.store.apps import Apps
from dynod.store.audit import Audit
from dynod.store.ballast import Ballast
from dynod.store.buildpacks import Buildpacks
from dynod.store.builds import Builds
from dynod.store.database import Database, copy_database, rehearse_migration
from dynod.store.domains import Domains
from dynod.store.drains import Drains
from dynod.store.features import Features
from dynod.store.formation import Formation
from dynod.store.releases import Releases
from dynod.store.schema import MIGRATIONS, Migration
from dynod.store.slugs import Slugs
from dynod.store.ssh_keys import SshKeys
from dynod.store.storage import Storage
from dynod.store.tokens import Tokens
from dynod.store.webhooks import Webhooks

NEWEST_SCHEMA: Final = MIGRATIONS[-1].version


class Store:
    """`open`, then `await` the aggregates' methods from the event loop; `close` at the end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.apps = Apps(database)
        self.formation = Formation(database)
        self.settings = AppSettings(database)
        self.drains = Drains(database)
        self.domains = Domains(database)
        self.features = Features(database)
        self.buildpacks = Buildpacks(database)
        self.slugs = Slugs(database)
        self.builds = Builds(database)
        self.releases = Releases(database)
        self.tokens = Tokens(database)
        self.users = AppUsers(database)
        self.storage = Storage(database)
        self.ssh_keys = SshKeys(database)
        self.webhooks = Webhooks(database)
        self.audit = Audit(database)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> Self:
        """Open the state in a folder, or begin one; brings an older schema up to date. Blocks. Raises StoreError."""
        return cls(Database.open(folder, migrations=migrations, clock=clock))

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def refused(self) -> int:
        """How many calls were refused because too many waited for the disk."""
        return self._database.refused

    def now(self) -> datetime:
        """As what is written now is dated."""
        return self._database.clock()

    def set_room_aside(self) -> None:
        """For a start on a full disk, where there is plenty now. Blocks."""
        Ballast(self.path.parent).set_aside()

    def copy_to(self, target: Path) -> None:
        """A copy as of one moment, while changes go on. Blocks. Raises StoreError."""
        copy_database(self.path, target)

    def close(self) -> None:
        """Finish what was asked for and let go of the file. Blocks; a second call does nothing."""
        self._database.close()


def rehearse(folder: Path, *, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Whether `open` would succeed with what is there, tried on a copy in memory; the state may be in use meanwhile.

    Raises StoreError. Contracts 1: a new core tries the migration before the old one lets go.
    """
    rehearse_migration(folder, migrations=migrations)
