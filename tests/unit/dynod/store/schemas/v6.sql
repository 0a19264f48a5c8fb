BEGIN TRANSACTION;
CREATE TABLE app_settings (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                key TEXT NOT NULL,  -- [TYPE.]KEY
                value TEXT NOT NULL,
                PRIMARY KEY (app_id, key)
            ) WITHOUT ROWID
            ;
INSERT INTO "app_settings" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','worker.grace_s','120');
CREATE TABLE app_users (
                number INTEGER PRIMARY KEY AUTOINCREMENT,  -- of its user among dynod's; never another app's again
                app_id TEXT NOT NULL UNIQUE REFERENCES apps (id) ON DELETE CASCADE
            );
INSERT INTO "app_users" VALUES(1,'5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10');
CREATE TABLE apps (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                name TEXT NOT NULL UNIQUE,
                folder TEXT,  -- an app registered from a folder runs from there
                maintenance INTEGER NOT NULL DEFAULT 0 CHECK (maintenance IN (0, 1)),
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL
            ) WITHOUT ROWID
            ;
INSERT INTO "apps" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','shop','/srv/shop',1,1767225600000000,1767225600000001);
CREATE TABLE audit (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                at INTEGER NOT NULL,
                actor TEXT NOT NULL,
                origin TEXT NOT NULL,
                action TEXT NOT NULL,
                app_id TEXT,  -- hangs on nothing: what was done to an app is told after its end too
                app_name TEXT,  -- as it was then
                detail TEXT NOT NULL
            );
INSERT INTO "audit" VALUES(1,1767225600000000,'me','test','app.create','5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','shop','');
CREATE TABLE buildpacks (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                ordinal INTEGER NOT NULL CHECK (ordinal >= 0),
                url TEXT NOT NULL,
                PRIMARY KEY (app_id, ordinal)
            ) WITHOUT ROWID
            ;
INSERT INTO "buildpacks" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10',0,'heroku/python');
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
            ;
CREATE TABLE domains (
                id TEXT NOT NULL PRIMARY KEY,  -- a UUID
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                hostname TEXT NOT NULL UNIQUE,  -- lower case, no trailing dot; "*." in front for a wildcard
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL
            ) WITHOUT ROWID
            ;
INSERT INTO "domains" VALUES('8f0d6f5e-4f0e-4a52-9c5e-0a3f6c1b2d04','5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','www.example.com',1767225600000000,1767225600000000);
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
            ;
INSERT INTO "drains" VALUES('0b6f5c86-8d2a-4c55-9d62-2f6e0c1d7a11','5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','d.73ea7440-270a-435a-a0ea-adf50b4e5f5a','syslog://logs.example.com',0,0,1767225600000000,1767225600000000);
CREATE TABLE features (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                name TEXT NOT NULL,
                enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                PRIMARY KEY (app_id, name)
            ) WITHOUT ROWID
            ;
INSERT INTO "features" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','preboot',1,1767225600000000,1767225600000000);
CREATE TABLE formation (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                process_type TEXT NOT NULL,
                quantity INTEGER NOT NULL CHECK (quantity >= 0),
                size TEXT NOT NULL,
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                PRIMARY KEY (app_id, process_type)
            ) WITHOUT ROWID
            ;
INSERT INTO "formation" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','web',2,'Standard-1X',1767225600000000,1767225600000000);
INSERT INTO "formation" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','worker',0,'Unsized',1767225600000000,1767225600000000);
CREATE TABLE meta (
                key TEXT NOT NULL PRIMARY KEY,
                value TEXT NOT NULL
            ) WITHOUT ROWID
            ;
INSERT INTO "meta" VALUES('readable_from','1');
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
            ;
INSERT INTO "releases" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10',1,'8f0d6f5e-4f0e-4a52-9c5e-0a3f6c1b2d02','Initial release','me','succeeded',NULL,NULL,'{}','none',NULL,1767225600000000,1767225600000000);
INSERT INTO "releases" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10',2,'8f0d6f5e-4f0e-4a52-9c5e-0a3f6c1b2d03','Deploy abc','me','failed','8f0d6f5e-4f0e-4a52-9c5e-0a3f6c1b2d01','{}','{"A": "1"}','wanted','it exited with 1',1767225600000000,1767225600000000);
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
            ;
INSERT INTO "slugs" VALUES('8f0d6f5e-4f0e-4a52-9c5e-0a3f6c1b2d01','5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','SHA256:00ff',123,'{"web": "./serve"}','abc','first','','host',1767225600000000,1767225600000000);
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
            ;
INSERT INTO "ssh_keys" VALUES('8f0d6f5e-4f0e-4a52-9c5e-0a3f6c1b2d09','ssh-ed25519','AAAAC3NzaC1lZDI1NTE5AAAAIA==','me@laptop','me','deploy',NULL,1767225600000000);
CREATE TABLE storage (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                name TEXT NOT NULL,
                path TEXT NOT NULL,  -- where its dynos see it
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                PRIMARY KEY (app_id, name),
                UNIQUE (app_id, path)
            ) WITHOUT ROWID
            ;
INSERT INTO "storage" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','uploads','/app/media',1767225600000000,1767225600000000);
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
            ;
INSERT INTO "tokens" VALUES('8f0d6f5e-4f0e-4a52-9c5e-0a3f6c1b2d05','00','laptop','me','admin',NULL,NULL,1767225600000000,NULL);
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
            ;
INSERT INTO "webhooks" VALUES('8f0d6f5e-4f0e-4a52-9c5e-0a3f6c1b2d06','5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','https://example.com/hook','api:dyno','notify','secret','',1767225600000000,1767225600000000);
CREATE INDEX audit_by_app ON audit (app_id, id) WHERE app_id IS NOT NULL;
CREATE UNIQUE INDEX drains_by_app ON drains (app_id, url);
CREATE INDEX slugs_by_app ON slugs (app_id, created_at);
CREATE INDEX builds_by_app ON builds (app_id, created_at);
CREATE INDEX domains_by_app ON domains (app_id, hostname);
CREATE INDEX webhooks_by_app ON webhooks (app_id, created_at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('audit',1);
INSERT INTO "sqlite_sequence" VALUES('app_users',1);
COMMIT;
