-- A file as format 1 was written: bert was added before anna, two rows were removed between them, anna was renewed.
CREATE TABLE accounts (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    account TEXT NOT NULL,
    condition TEXT NOT NULL,
    last_used REAL NOT NULL DEFAULT 0,
    turns INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE changes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, writer TEXT NOT NULL);
CREATE TABLE claims (
    id TEXT NOT NULL, lease TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (id, lease)
) WITHOUT ROWID;
CREATE INDEX claims_by_end ON claims (until);
CREATE TABLE locks (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
INSERT INTO accounts VALUES (4, 'anna', 3,
    '{"id":"anna","user":"user-1","team":null,"plan":null,"access_token":null,"refresh_token":"refresh-a","session_token":null,"expires":null,"added":1.5,"version":3}',
    '{"parked":null,"cooling":{"gpt-5":99.5},"reasons":{"gpt-5":"limited"},"expired":false,"retry_at":0.0,"last_used":0.0,"turns":0}',
    50.5, 7);
INSERT INTO accounts VALUES (1, 'bert', 0,
    '{"id":"bert","user":null,"team":null,"plan":null,"access_token":"access-b","refresh_token":null,"session_token":null,"expires":null,"added":0.0,"version":0}',
    '{"parked":null,"cooling":{},"reasons":{},"expired":false,"retry_at":0.0,"last_used":0.0,"turns":0}',
    0, 0);
INSERT INTO changes VALUES (7, 'anna', '0123456789abcdef');
INSERT INTO claims VALUES ('anna', 'long ago', 1000.0);
INSERT INTO locks VALUES ('renew anna', 'long ago', 1000.0);
PRAGMA user_version = 1;
