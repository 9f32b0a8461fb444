-- A store of version 1, as `.dump` of the sqlite3 command wrote it.
BEGIN TRANSACTION;
CREATE TABLE attempts (
        attempt_id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        node TEXT NOT NULL,
        outcome TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        crashes INTEGER NOT NULL,
        next_at INTEGER NOT NULL,
        error BLOB NOT NULL,
        logs BLOB NOT NULL
    ) STRICT;
CREATE TABLE claims (
        claim_id INTEGER PRIMARY KEY,
        node TEXT NOT NULL,
        incarnation TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        at INTEGER NOT NULL,
        first_run INTEGER NOT NULL,
        last_run INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        entries BLOB NOT NULL
    ) STRICT;
INSERT INTO "claims" VALUES(1,'node-1','life-1',1,1400,1,2,11,X'929301010A9302010B');
CREATE TABLE conditions (
        run_id INTEGER PRIMARY KEY,
        state TEXT NOT NULL,
        at INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
INSERT INTO "conditions" VALUES(2,'PARKED',1500,'no target');
CREATE TABLE decisions (
        tenant TEXT NOT NULL,
        job TEXT NOT NULL,
        slot INTEGER NOT NULL,
        last INTEGER NOT NULL,
        count INTEGER NOT NULL,
        kind TEXT NOT NULL,
        at INTEGER NOT NULL,
        run_id INTEGER,
        coalesced_into INTEGER,
        PRIMARY KEY (tenant, job, slot)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "decisions" VALUES('default','nightly',500,500,1,'FIRED',501,2,NULL);
CREATE TABLE definitions (
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        job BLOB NOT NULL,
        PRIMARY KEY (tenant, name, version)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "definitions" VALUES('default','nightly',1,X'DE0017A674656E616E74A764656661756C74A46E616D65A76E696768746C79A776657273696F6E01A6746172676574A0A7636F6D6D616E64C0A77472696767657281A474797065A66D616E75616CA6616E63686F7200A86578656375746F72A6746872656164A864656C6976657279AC61745F6D6F73745F6F6E6365A9617267756D656E7473C400A87072696F7269747900A57265747279C0B2617474656D70745F74696D656F75745F7573C0AF72756E5F646561646C696E655F7573C0B173746172745F646561646C696E655F7573C0A76F7665726C6170A4736B6970A76361746368757083A6706F6C696379A66C6174657374A977696E646F775F7573C0AB6D61785F6361746368757064A5616674657290A4686F6F6BC0B0776169745F646561646C696E655F7573CF000000141DD76000A47461677391A178AB6D61785F6372617368657303AB6465736372697074696F6EA0');
CREATE TABLE ends (
        run_id INTEGER PRIMARY KEY,
        state TEXT NOT NULL,
        ended_at INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        node TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        result BLOB NOT NULL,
        error BLOB NOT NULL,
        logs BLOB NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
INSERT INTO "ends" VALUES(1,'FAILED',2000,0,0,'',0,X'',X'94AA56616C75654572726F7291A9457863657074696F6EA26E6FA0',X'','');
CREATE TABLE events (
        event_id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        tenant TEXT NOT NULL,
        job TEXT NOT NULL,
        run_id INTEGER,
        text TEXT NOT NULL
    ) STRICT;
INSERT INTO "events" VALUES(1,900,'reign','','',NULL,'');
CREATE TABLE jobs (
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        status TEXT NOT NULL,
        mark INTEGER NOT NULL,
        fires INTEGER NOT NULL,
        next_due INTEGER,
        linked INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        PRIMARY KEY (tenant, name)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "jobs" VALUES('default','nightly',1,'active',0,0,1000,0,1);
CREATE TABLE lease (
        name TEXT NOT NULL PRIMARY KEY,
        holder TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        beat INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        address TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "lease" VALUES('leader','leader',1,0,1,'');
CREATE TABLE marks (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "marks" VALUES('settled',2);
CREATE TABLE runs (
    run_id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    job TEXT NOT NULL,
    version INTEGER NOT NULL,
    cause TEXT NOT NULL,
    slot INTEGER,
    grp TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    arguments BLOB NOT NULL,
    token TEXT,
    parent INTEGER
) STRICT;
INSERT INTO "runs" VALUES(1,'default','nightly',1,'submit',NULL,'',1000,1000,0,X'','t',NULL);
INSERT INTO "runs" VALUES(2,'default','nightly',1,'slot',500,'g',1000,1000,0,X'',NULL,NULL);
CREATE TABLE submissions (
        key TEXT NOT NULL PRIMARY KEY,
        first INTEGER NOT NULL,
        count INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "submissions" VALUES('key',1,1,1000);
CREATE TABLE tags (
        tenant TEXT NOT NULL,
        tag TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (tenant, tag, name)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "tags" VALUES('default','x','nightly');
CREATE INDEX jobs_by_due ON jobs (next_due, tenant, name) WHERE status = 'active' AND next_due IS NOT NULL;
CREATE INDEX jobs_linked ON jobs (tenant, name) WHERE linked = 1;
CREATE INDEX jobs_paused ON jobs (tenant, name) WHERE status = 'paused';
CREATE INDEX runs_by_job ON runs (tenant, job, run_id);
CREATE INDEX runs_by_tenant ON runs (tenant, run_id) WHERE tenant <> 'default';
CREATE INDEX runs_by_group ON runs (tenant, grp, run_id) WHERE grp <> '';
CREATE UNIQUE INDEX runs_by_token ON runs (tenant, token) WHERE token IS NOT NULL;
CREATE INDEX ends_by_state ON ends (state, run_id) WHERE state <> 'SUCCEEDED';
CREATE INDEX attempts_by_run ON attempts (run_id, attempt_id);
CREATE INDEX claims_by_run ON claims (last_run, first_run);
CREATE INDEX events_by_tenant ON events (tenant, event_id);
CREATE TRIGGER claims_fence BEFORE INSERT ON claims
        WHEN NEW.epoch < (SELECT epoch FROM lease WHERE name = 'leader')
        BEGIN SELECT RAISE(ABORT, 'callsheet: an older epoch writes'); END;
CREATE TRIGGER jobs_fence_insert BEFORE INSERT ON jobs
        WHEN NEW.epoch < (SELECT epoch FROM lease WHERE name = 'leader')
        BEGIN SELECT RAISE(ABORT, 'callsheet: an older epoch writes'); END;
CREATE TRIGGER jobs_fence_update BEFORE UPDATE ON jobs
        WHEN NEW.epoch < (SELECT epoch FROM lease WHERE name = 'leader')
        BEGIN SELECT RAISE(ABORT, 'callsheet: an older epoch writes'); END;
COMMIT;
PRAGMA application_id = 1129531476;
PRAGMA user_version = 1;
