BEGIN TRANSACTION;
CREATE TABLE app_settings (
                app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
                key TEXT NOT NULL,  -- [TYPE.]KEY
                value TEXT NOT NULL,
                PRIMARY KEY (app_id, key)
            ) WITHOUT ROWID
            ;
INSERT INTO "app_settings" VALUES('5ad0a1b6-3e54-4d0b-8a0f-3a6c1b8d9e10','worker.grace_s','120');
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
CREATE INDEX audit_by_app ON audit (app_id, id) WHERE app_id IS NOT NULL;
CREATE UNIQUE INDEX drains_by_app ON drains (app_id, url);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('audit',1);
COMMIT;
