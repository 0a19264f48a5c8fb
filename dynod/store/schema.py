"""The tables, as the steps that made them. A step that has been released is never edited: what comes next is added.

Steps only add (tables, columns with a default, indexes), so that the dynod before can go on with a newer state; one
that cannot says so by `readable_from`. Everything hangs on an app and goes with it; only the audit trail stays.

Times are microseconds since the epoch, UTC. CHECKs hold what will be true for ever, as SQLite cannot loosen them later;
limits that may move (names, quantities) are `core`'s. Nothing here needs a SQLite newer than 3.31 (2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

APPLICATION_ID: Final = 0x64796E6F  # "dyno": tells dynod's file from another program's


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """The step to schema `version`. `readable_from`: the oldest schema whose dynod can work with this one."""

    version: int
    statements: tuple[str, ...]
    readable_from: int = 1


MIGRATIONS: Final[Sequence[Migration]] = (
    Migration(
        version=1,
        statements=(
            """
            CREATE TABLE meta (
                key TEXT NOT NULL PRIMARY KEY,
                value TEXT NOT NULL
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE apps (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                name TEXT NOT NULL UNIQUE,
                folder TEXT,  -- an app registered from a folder runs from there
                maintenance INTEGER NOT NULL DEFAULT 0 CHECK (maintenance IN (0, 1)),
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE formation (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                process_type TEXT NOT NULL,
                quantity INTEGER NOT NULL CHECK (quantity >= 0),
                size TEXT NOT NULL,
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                PRIMARY KEY (app_id, process_type)
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE app_settings (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                key TEXT NOT NULL,  -- [TYPE.]KEY
                value TEXT NOT NULL,
                PRIMARY KEY (app_id, key)
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE audit (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                at INTEGER NOT NULL,
                actor TEXT NOT NULL,
                origin TEXT NOT NULL,
                action TEXT NOT NULL,
                app_id TEXT,  -- hangs on nothing: what was done to an app is told after its end too
                app_name TEXT,  -- as it was then
                detail TEXT NOT NULL
            )
            """,
            "CREATE INDEX audit_by_app ON audit (app_id, id) WHERE app_id IS NOT NULL",
        ),
    ),
    Migration(
        version=2,
        statements=(
            """
            CREATE TABLE drains (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                token TEXT NOT NULL UNIQUE,  -- "d." and a UUID
                url TEXT NOT NULL,  -- may hold a secret
                begin_offset INTEGER NOT NULL,  -- where the app's history ended when the drain was made
                begin_line INTEGER NOT NULL,
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
            "CREATE UNIQUE INDEX drains_by_app ON drains (app_id, url)",
        ),
    ),
    Migration(
        version=3,
        statements=(
            """
            CREATE TABLE slugs (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                checksum TEXT,  -- "SHA256:" and hex, which names the archive; NULL until it has been uploaded
                size INTEGER,  -- bytes of the archive
                process_types TEXT NOT NULL,  -- JSON: type to command
                commit_id TEXT,
                commit_description TEXT,
                buildpack_description TEXT,
                stack TEXT NOT NULL,
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
            "CREATE INDEX slugs_by_app ON slugs (app_id, created_at)",
            """
            CREATE TABLE releases (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                version INTEGER NOT NULL CHECK (version > 0),  -- never used again, also when the release has failed
                id TEXT NOT NULL UNIQUE,  -- a UUID
                description TEXT NOT NULL,
                user_name TEXT NOT NULL,
                status TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed', 'expired')),
                slug_id TEXT REFERENCES slugs (id) ON DELETE SET NULL,
                plan TEXT,  -- JSON: what the code declares; NULL: no code yet
                config TEXT NOT NULL,  -- JSON: name to value; holds secrets
                phase TEXT NOT NULL CHECK (phase IN ('none', 'wanted', 'done')),  -- of its release command
                failure TEXT,  -- why it failed, for people
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                PRIMARY KEY (app_id, version)
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE builds (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                status TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
                source_version TEXT,
                slug_id TEXT REFERENCES slugs (id) ON DELETE SET NULL,
                release_version INTEGER,
                user_name TEXT NOT NULL,
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
            "CREATE INDEX builds_by_app ON builds (app_id, created_at)",
            """
            CREATE TABLE domains (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                hostname TEXT NOT NULL UNIQUE,  -- lower case, no trailing dot; "*." in front for a wildcard
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
            "CREATE INDEX domains_by_app ON domains (app_id, hostname)",
            """
            CREATE TABLE features (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                name TEXT NOT NULL,
                enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                PRIMARY KEY (app_id, name)
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE buildpacks (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                ordinal INTEGER NOT NULL CHECK (ordinal >= 0),
                url TEXT NOT NULL,
                PRIMARY KEY (app_id, ordinal)
            ) WITHOUT ROWID
            """,
            """
            CREATE TABLE tokens (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                hash TEXT NOT NULL UNIQUE,  -- of the token, which nobody keeps
                description TEXT NOT NULL,
                user_name TEXT NOT NULL,  -- on whose behalf it acts
                scope TEXT NOT NULL CHECK (scope IN ('read', 'deploy', 'admin')),
                app_id TEXT REFERENCES apps (id) ON DELETE CASCADE,  -- NULL: every app
                purpose TEXT UNIQUE,  -- at most one token of a purpose; NULL: any number
                created_at INTEGER NOT NULL,
                used_at INTEGER
            ) WITHOUT ROWID
            """,
        ),
    ),
    Migration(
        version=4,
        statements=(
            """
            CREATE TABLE app_users (
                number INTEGER PRIMARY KEY AUTOINCREMENT,  -- of its user among dynod's; never another app's again
                app_id TEXT NOT NULL UNIQUE REFERENCES apps (id) ON DELETE CASCADE
            )
            """,
            """
            CREATE TABLE storage (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                name TEXT NOT NULL,
                path TEXT NOT NULL,  -- where its dynos see it
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                PRIMARY KEY (app_id, name),
                UNIQUE (app_id, path)
            ) WITHOUT ROWID
            """,
        ),
    ),
    Migration(
        version=5,
        statements=(
            """
            CREATE TABLE ssh_keys (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                type TEXT NOT NULL,
                blob TEXT NOT NULL UNIQUE,  -- base64
                comment TEXT NOT NULL,
                user_name TEXT NOT NULL,  -- in whose name whoever has it acts
                scope TEXT NOT NULL CHECK (scope IN ('read', 'deploy', 'admin')),
                app_id TEXT REFERENCES apps (id) ON DELETE CASCADE,  -- NULL: every app
                created_at INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
        ),
    ),
    Migration(
        version=6,
        statements=(
            """
            CREATE TABLE webhooks (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                url TEXT NOT NULL,  -- may hold a secret
                include TEXT NOT NULL,  -- with blanks between
                level TEXT NOT NULL CHECK (level IN ('notify', 'sync')),
                secret TEXT NOT NULL,  -- signs
                auth_header TEXT NOT NULL,  -- "": none
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
            "CREATE INDEX webhooks_by_app ON webhooks (app_id, created_at)",
        ),
    ),
)
