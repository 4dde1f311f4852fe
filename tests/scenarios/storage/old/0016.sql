BEGIN TRANSACTION;
CREATE TABLE actions (
    seq INTEGER PRIMARY KEY,
    instance INTEGER, -- NULL: it was done to something else
    subject TEXT NOT NULL, -- that: "queue NAME", "worker NAME"; empty: an instance
    at REAL NOT NULL,
    verb TEXT NOT NULL,
    actor TEXT NOT NULL,
    details TEXT NOT NULL -- JSON list of pairs
);
CREATE TABLE attempts (
    seq INTEGER PRIMARY KEY,
    instance INTEGER NOT NULL,
    node INTEGER NOT NULL,
    number INTEGER NOT NULL,
    losses INTEGER NOT NULL, -- 0: the attempt failed; n: the worker was lost with it, which made n losses of the node
    worker TEXT NOT NULL,
    ended_at REAL NOT NULL,
    type TEXT NOT NULL,
    message TEXT NOT NULL,
    traceback TEXT NOT NULL,
    exception BLOB NOT NULL,
    permanent INTEGER NOT NULL
, token INTEGER NOT NULL DEFAULT 0, granted_at REAL NOT NULL DEFAULT 0, duration_s REAL NOT NULL DEFAULT 0);
INSERT INTO "attempts" VALUES(1,2,8,1,0,'xx:13983',1.79586571380672812463e+09,'ValueError','no stock','Traceback (most recent call last):
  File "xxxxxxxxxxxxxxxx/tests/scenarios/library/older_definitions.py", line 18, in part
    raise ValueError("no stock")
ValueError: no stock
',X'8005952A000000000000008C086275696C74696E73948C0A56616C75654572726F729493948C086E6F2073746F636B94859452942E',0,1099511627784,1.79586571353221940991e+09,0.001335);
CREATE TABLE calls (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    instance INTEGER NOT NULL,
    function INTEGER NOT NULL,
    parent INTEGER NOT NULL, -- seq of the node whose function made the call; 0 for calls from outside
    created_at REAL NOT NULL,
    dependencies TEXT, -- JSON list of seq; NULL for none
    arguments BLOB NOT NULL
);
INSERT INTO "calls" VALUES(1,X'01A221EFD3E77106945C773E0BB33111',1,1,0,1.79586570691932845113e+09,NULL,X'80059508000000000000008985947D9486942E');
INSERT INTO "calls" VALUES(2,X'01A221F00624735F8ADD6E5381D44730',1,2,1,1.79586570831350135803e+09,NULL,X'8005950A000000000000004B008986947D9486942E');
INSERT INTO "calls" VALUES(3,X'01A221F0062474148ADD6E5381D44731',1,2,1,1.79586570831350135803e+09,NULL,X'8005950A000000000000004B018986947D9486942E');
INSERT INTO "calls" VALUES(4,X'01A221F0062474518ADD6E5381D44732',1,2,1,1.79586570831350135803e+09,NULL,X'8005950A000000000000004B028986947D9486942E');
INSERT INTO "calls" VALUES(5,X'01A221F0062479FE8ADD6E5381D44733',1,3,1,1.79586570831350135803e+09,'[2, 3, 4]',X'8005957B000000000000005D94288C176461676F72616D612E6D6F64656C732E70726F6D697365948C0870726F6D69736564949394431001A221F00624735F8ADD6E5381D4473094859452946803431001A221F0062474148ADD6E5381D4473194859452946803431001A221F0062474518ADD6E5381D4473294859452946585947D9486942E');
INSERT INTO "calls" VALUES(6,X'01A221F0157972F3945C773E0BB33113',2,1,0,1.79586571239085030556e+09,NULL,X'80059508000000000000008885947D9486942E');
INSERT INTO "calls" VALUES(7,X'01A221F018E970AB8ADD6E5381D44734',2,2,6,1.79586571295932030676e+09,NULL,X'8005950A000000000000004B008886947D9486942E');
INSERT INTO "calls" VALUES(8,X'01A221F018E971528ADD6E5381D44735',2,2,6,1.79586571295932030676e+09,NULL,X'8005950A000000000000004B018886947D9486942E');
INSERT INTO "calls" VALUES(9,X'01A221F018E9718A8ADD6E5381D44736',2,2,6,1.79586571295932030676e+09,NULL,X'8005950A000000000000004B028886947D9486942E');
INSERT INTO "calls" VALUES(10,X'01A221F018E972CA8ADD6E5381D44737',2,3,6,1.79586571295932030676e+09,'[7, 8, 9]',X'8005957B000000000000005D94288C176461676F72616D612E6D6F64656C732E70726F6D697365948C0870726F6D69736564949394431001A221F018E970AB8ADD6E5381D4473494859452946803431001A221F018E971528ADD6E5381D4473594859452946803431001A221F018E9718A8ADD6E5381D4473694859452946585947D9486942E');
INSERT INTO "calls" VALUES(11,X'01A221F024D278B9945C773E0BB33115',3,1,0,1.79586571626046681408e+09,NULL,X'80059508000000000000008985947D9486942E');
CREATE TABLE epochs (
    epoch INTEGER PRIMARY KEY, -- one for each time that a broker opened this storage
    opened_at REAL NOT NULL
, boot TEXT, offset_s REAL);
INSERT INTO "epochs" VALUES(1,1.7958656224276916981e+09,NULL,1.79586333862315583229e+09);
CREATE TABLE functions (
    id INTEGER PRIMARY KEY, -- a function may stand here more than once: a broker starts a new row after a restart
    name TEXT NOT NULL,
    code_version TEXT NOT NULL,
    queue TEXT NOT NULL,
    taint TEXT NOT NULL,
    max_attempts INTEGER NOT NULL,
    interval_s REAL NOT NULL,
    multiplier REAL NOT NULL,
    interval_max_s REAL NOT NULL,
    jitter REAL NOT NULL,
    definition_arguments BLOB NOT NULL
, timeout_s REAL NOT NULL DEFAULT 0, limits TEXT, start_timeout_s REAL NOT NULL DEFAULT 0, at_most_once INTEGER NOT NULL DEFAULT 0, release TEXT NOT NULL DEFAULT '', parameters TEXT NOT NULL DEFAULT '', shows_inputs INTEGER NOT NULL DEFAULT 0);
INSERT INTO "functions" VALUES(1,'tests.scenarios.library.older_definitions:Older.entrypoint','bff31564d19228e18c6896fcefb50666','tests.scenarios.library.older_definitions:Older.entrypoint','',1,0.0,1.0,0.0,0.0,X'',0.0,NULL,0.0,0,'entrypoint bff31564d19228e18c6896fcefb50666
part 0bb5072b15e2e9969d79f35e5dd74463
total 4680758f02fb27324cc33eaeea53d228','fails',1);
INSERT INTO "functions" VALUES(2,'tests.scenarios.library.older_definitions:Older.part','0bb5072b15e2e9969d79f35e5dd74463','tests.scenarios.library.older_definitions:Older.part','',1,0.0,1.0,0.0,0.0,X'',0.0,NULL,0.0,0,'entrypoint bff31564d19228e18c6896fcefb50666
part 0bb5072b15e2e9969d79f35e5dd74463
total 4680758f02fb27324cc33eaeea53d228','number, fails',1);
INSERT INTO "functions" VALUES(3,'tests.scenarios.library.older_definitions:Older.total','4680758f02fb27324cc33eaeea53d228','tests.scenarios.library.older_definitions:Older.total','',1,0.0,1.0,0.0,0.0,X'',0.0,NULL,0.0,0,'entrypoint bff31564d19228e18c6896fcefb50666
part 0bb5072b15e2e9969d79f35e5dd74463
total 4680758f02fb27324cc33eaeea53d228','parts',1);
CREATE TABLE hooks (
    instance INTEGER NOT NULL,
    place INTEGER NOT NULL, -- they are made in this order
    function INTEGER NOT NULL,
    arguments BLOB NOT NULL,
    only_failed INTEGER NOT NULL, -- 1: not where it has completed, or was cancelled
    PRIMARY KEY (instance, place)
) WITHOUT ROWID;
CREATE TABLE instances (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    definition TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL,
    counts TEXT -- JSON: how many nodes ended in each state; NULL while the instance runs
, share_group TEXT NOT NULL DEFAULT '', priority INTEGER NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0, running_max INTEGER NOT NULL DEFAULT 0, deadline_at REAL, void_token INTEGER NOT NULL DEFAULT 0, key TEXT, body TEXT, tags TEXT, ends INTEGER, started_by TEXT, keep TEXT, ended_on REAL, kept_until REAL);
INSERT INTO "instances" VALUES(1,X'01A221EFD18376E6945C773E0BB33110','tests.scenarios.library.older_definitions:Older','completed',1.79586570691932845113e+09,1.79586571161111164095e+09,'{"completed": 5}','',0,0,0,NULL,0,NULL,NULL,NULL,NULL,'root@xx',NULL,8.90096294879913330078e+01,NULL);
INSERT INTO "instances" VALUES(2,X'01A221F0157970FB945C773E0BB33112','tests.scenarios.library.older_definitions:Older','failed',1.79586571239085030556e+09,1.79586571455110526086e+09,'{"completed": 2, "failed": 1, "dependency_failed": 2}','',0,0,0,NULL,0,NULL,NULL,NULL,NULL,'root@xx',NULL,9.19496231079101562517e+01,NULL);
INSERT INTO "instances" VALUES(3,X'01A221F024D27677945C773E0BB33114','tests.scenarios.library.older_definitions:Older','running',1.79586571626046681408e+09,NULL,NULL,'',0,0,0,NULL,0,NULL,NULL,NULL,NULL,'root@xx',NULL,NULL,NULL);
CREATE TABLE limited (
    node INTEGER PRIMARY KEY,
    keys TEXT NOT NULL -- JSON list with a key for each limit of the node's function
);
CREATE TABLE limits (
    key TEXT PRIMARY KEY,
    said_by INTEGER NOT NULL, -- seq of the node whose call said so
    running_max INTEGER NOT NULL, -- 0: any number
    rate_per_s REAL NOT NULL, -- 0: any rate
    burst INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE lived (at REAL NOT NULL, lived_s REAL NOT NULL);
INSERT INTO "lived" VALUES(1.7958656233740990162e+09,7.72616863250732421875e-01);
CREATE TABLE notes (
    node INTEGER PRIMARY KEY,
    label TEXT,
    inputs TEXT -- the arguments as a text for people, where they are not given out themselves
);
CREATE TABLE outcomes (
    node INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    at REAL, -- when it ended, or for one that backs off, when it may run again
    payload BLOB, -- NULL for an alias: it has the value of its only promise
    promises TEXT, -- JSON list of seq of the nodes that the payload refers to
    cause INTEGER -- seq of the node where its failure began
, previous BLOB, change TEXT, source INTEGER, worker INTEGER, granted_at REAL, duration_s REAL, joined_at REAL);
INSERT INTO "outcomes" VALUES(1,'completed',1.79586571161111164095e+09,NULL,'[5]',NULL,NULL,NULL,5,1,1.79586570691968154902e+09,0.828205,1.79586570826056146623e+09);
INSERT INTO "outcomes" VALUES(2,'completed',1.79586570941099548338e+09,X'80054B002E',NULL,NULL,NULL,NULL,NULL,1,1.79586570850850653652e+09,0.133093,1.79586570940662360192e+09);
INSERT INTO "outcomes" VALUES(3,'completed',1.79586571018882107733e+09,X'80054B012E',NULL,NULL,NULL,NULL,NULL,1,1.79586570941177558896e+09,0.000532,1.79586571005495786667e+09);
INSERT INTO "outcomes" VALUES(4,'completed',1.79586571089383220667e+09,X'80054B022E',NULL,NULL,NULL,NULL,NULL,1,1.79586571018902540208e+09,3.39999999999999970214e-04,1.79586571082750821111e+09);
INSERT INTO "outcomes" VALUES(5,'completed',1.79586571161111164095e+09,X'80054B032E',NULL,NULL,NULL,NULL,NULL,1,1.79586571089417505265e+09,0.000437,1.79586571145696353912e+09);
INSERT INTO "outcomes" VALUES(6,'dependency_failed',1.79586571408019161225e+09,NULL,'[10]',8,NULL,NULL,NULL,1,1.79586571239133214951e+09,0.000441,1.79586571293190431597e+09);
INSERT INTO "outcomes" VALUES(7,'completed',1.79586571353182959556e+09,X'80054B002E',NULL,NULL,NULL,NULL,NULL,1,1.79586571295982456207e+09,3.81999999999999961114e-04,1.79586571351985168458e+09);
INSERT INTO "outcomes" VALUES(8,'failed',1.79586571408019161225e+09,NULL,NULL,8,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "outcomes" VALUES(9,'completed',1.79586571455110526086e+09,X'80054B022E',NULL,NULL,NULL,NULL,NULL,1,1.79586571408054137231e+09,4.91999999999999924372e-04,1.79586571448166203495e+09);
INSERT INTO "outcomes" VALUES(10,'dependency_failed',1.79586571408019161225e+09,NULL,NULL,8,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL,
    running_max INTEGER NOT NULL -- 0: no cap
) WITHOUT ROWID;
CREATE TABLE removed (node_last INTEGER NOT NULL, instance_last INTEGER NOT NULL DEFAULT 0, action_last INTEGER NOT NULL DEFAULT 0);
INSERT INTO "removed" VALUES(0,0,0);
CREATE TABLE requests (
    instance INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    node BLOB, -- id of the node to be run again; NULL: a retry
    nodes TEXT NOT NULL -- JSON list of seq of the nodes that a rerun let begin anew
);
CREATE TABLE schema (
    number INTEGER PRIMARY KEY, -- of a migration that has been run
    applied_at REAL NOT NULL
);
INSERT INTO "schema" VALUES(1,1795865619.0);
INSERT INTO "schema" VALUES(2,1795865619.0);
INSERT INTO "schema" VALUES(3,1795865620.0);
INSERT INTO "schema" VALUES(4,1795865620.0);
INSERT INTO "schema" VALUES(5,1795865620.0);
INSERT INTO "schema" VALUES(6,1795865620.0);
INSERT INTO "schema" VALUES(7,1795865620.0);
INSERT INTO "schema" VALUES(8,1795865620.0);
INSERT INTO "schema" VALUES(9,1795865620.0);
INSERT INTO "schema" VALUES(10,1795865620.0);
INSERT INTO "schema" VALUES(11,1795865621.0);
INSERT INTO "schema" VALUES(12,1795865621.0);
INSERT INTO "schema" VALUES(13,1795865621.0);
INSERT INTO "schema" VALUES(14,1795865621.0);
INSERT INTO "schema" VALUES(15,1795865621.0);
INSERT INTO "schema" VALUES(16,1795865622.0);
CREATE TABLE sweeps (
    instance INTEGER PRIMARY KEY,
    id BLOB NOT NULL
);
CREATE TABLE tags (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    instance INTEGER NOT NULL,
    PRIMARY KEY (name, value, instance)
) WITHOUT ROWID;
CREATE TABLE tombstones (
    instance INTEGER PRIMARY KEY, -- its number
    id BLOB NOT NULL UNIQUE,
    definition TEXT NOT NULL,
    state TEXT NOT NULL,
    finished_at REAL NOT NULL,
    pruned_at REAL NOT NULL,
    pruned_on REAL NOT NULL, -- lived time
    reason TEXT NOT NULL, -- 'age', 'room', 'request'
    actor TEXT NOT NULL,
    key TEXT -- NULL: none
);
CREATE TABLE value_owner (id BLOB NOT NULL);
INSERT INTO "value_owner" VALUES(X'80FF0D0DA63E28923706742A83C18474');
CREATE TABLE value_uses (
    instance INTEGER NOT NULL,
    node INTEGER NOT NULL, -- seq; 0: it is for the instance itself
    part TEXT NOT NULL, -- 'arguments', 'result', 'definition', 'exception', 'hook'
    digest BLOB NOT NULL, -- SHA-256 of the value
    size INTEGER NOT NULL, -- of the value, in bytes
    PRIMARY KEY (instance, node, part, digest)
) WITHOUT ROWID;
CREATE TABLE worker_names (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
INSERT INTO "worker_names" VALUES(1,'xx:13983');
CREATE TABLE workers (
    id BLOB PRIMARY KEY, -- those that have not left
    name TEXT NOT NULL,
    joined_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX instances_running ON instances (seq) WHERE state = 'running';
CREATE INDEX calls_by_instance ON calls (instance);
CREATE INDEX attempts_by_node ON attempts (instance, node);
CREATE VIEW dependencies AS
SELECT calls.instance, calls.seq AS node, entry.key AS position, entry.value AS dependency
FROM calls, json_each(calls.dependencies) AS entry;
CREATE INDEX calls_by_id ON calls (instance, id);
CREATE VIEW nodes AS
SELECT
    calls.seq,
    lower(hex(calls.id)) AS id,
    calls.instance,
    functions.name AS function,
    functions.queue,
    functions.taint,
    coalesce(outcomes.state, 'waiting') AS state,
    nullif(calls.parent, 0) AS parent,
    calls.created_at,
    CASE WHEN outcomes.state NOT IN ('waiting', 'backoff') THEN outcomes.at END AS finished_at,
    CASE WHEN outcomes.state = 'backoff' THEN outcomes.at END AS retry_at,
    worker_names.name AS worker,
    outcomes.granted_at,
    outcomes.duration_s,
    outcomes.cause,
    calls.arguments,
    outcomes.payload
FROM calls
JOIN functions ON functions.id = calls.function
LEFT JOIN outcomes ON outcomes.node = calls.seq
LEFT JOIN worker_names ON worker_names.number = outcomes.worker;
CREATE INDEX instances_by_key ON instances (key) WHERE key IS NOT NULL;
CREATE INDEX instances_failed ON instances (seq) WHERE state = 'failed';
CREATE INDEX instances_cancelled ON instances (seq) WHERE state = 'cancelled';
CREATE INDEX actions_by_instance ON actions (instance, seq) WHERE instance IS NOT NULL;
CREATE INDEX actions_by_subject ON actions (subject, seq) WHERE instance IS NULL;
CREATE INDEX value_uses_by_digest ON value_uses (digest);
CREATE INDEX instances_ended ON instances (state, ended_on) WHERE state <> 'running' AND kept_until IS NULL;
CREATE INDEX instances_kept ON instances (kept_until) WHERE kept_until IS NOT NULL;
CREATE INDEX instances_kept_since ON instances (ended_on) WHERE kept_until < 9e999;
CREATE INDEX tombstones_by_key ON tombstones (key) WHERE key IS NOT NULL;
CREATE INDEX tombstones_by_age ON tombstones (pruned_on);
COMMIT;
