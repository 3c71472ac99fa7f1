-- A file as format 3 was written before accounts had labels, pauses, proxies and evidence.
CREATE TABLE accounts (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    account TEXT NOT NULL,
    condition TEXT NOT NULL,
    last_used REAL NOT NULL DEFAULT 0,
    turns INTEGER NOT NULL DEFAULT 0
);
INSERT INTO "accounts" VALUES(1,'anna',1,'{"id":"anna","user":"user-1","team":"team","plan":"plus","access_token":"access-a","refresh_token":"refresh-a","session_token":"session-a","expires":1900000000.0,"added":1.5,"version":1,"client_id":"app_LlGpXReQgckcGGUo2JrYvtJK","client_sure":true}','{"parked":null,"cooling":{"*":99.5,"gpt-5":88.5},"reasons":{"*":"usage_limit_reached","gpt-5":"model_cap_exceeded"},"since":{"*":9.5,"gpt-5":8.5},"expired":false,"retry_at":0.0,"last_used":0.0,"turns":0,"quotas":[{"feature":"deep_research","remaining":4,"resets":"2026-12-01T00:00:00Z"}],"quotas_at":7.5}',50.5,7);
INSERT INTO "accounts" VALUES(2,'bert',0,'{"id":"bert","user":null,"team":null,"plan":null,"access_token":null,"refresh_token":"refresh-b","session_token":null,"expires":null,"added":2.5,"version":0,"client_id":null,"client_sure":false}','{"parked":"refresh_token_reused","cooling":{},"reasons":{"!renewal":"timeout"},"since":{},"expired":true,"retry_at":5.5,"last_used":0.0,"turns":0,"quotas":[],"quotas_at":0.0}',0.0,0);
CREATE TABLE changes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, writer TEXT NOT NULL);
INSERT INTO "changes" VALUES(1,'anna','a3caec0cad8e49e5975d565101a7d6a6');
INSERT INTO "changes" VALUES(2,'bert','a3caec0cad8e49e5975d565101a7d6a6');
INSERT INTO "changes" VALUES(3,'anna','a3caec0cad8e49e5975d565101a7d6a6');
INSERT INTO "changes" VALUES(4,'anna','a3caec0cad8e49e5975d565101a7d6a6');
INSERT INTO "changes" VALUES(5,'bert','a3caec0cad8e49e5975d565101a7d6a6');
CREATE TABLE claims (
    id TEXT NOT NULL, lease TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (id, lease)
) WITHOUT ROWID;
CREATE TABLE locks (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX claims_by_end ON claims (until);
PRAGMA user_version = 3;
