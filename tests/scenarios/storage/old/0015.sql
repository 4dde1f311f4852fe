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
INSERT INTO "attempts" VALUES(1,2,8,1,0,'xx:29126',1.79583737934951066968e+09,'ValueError','no stock','Traceback (most recent call last):
  File "xxxxxxxxxxxxxxxx/tests/scenarios/library/older_definitions.py", line 18, in part
    raise ValueError("no stock")
ValueError: no stock
',X'8005952A000000000000008C086275696C74696E73948C0A56616C75654572726F729493948C086E6F2073746F636B94859452942E',0,1099511627784,1.79583737931316614151e+09,6.29999999999999917704e-04);
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
INSERT INTO "calls" VALUES(1,X'01A2203FBF7778D78E180636F300E967',1,1,0,1.79583737903493642802e+09,NULL,X'80059508000000000000008985947D9486942E');
INSERT INTO "calls" VALUES(2,X'01A2203FC204799C85040CE2514BDD73',1,2,1,1.7958373790925884247e+09,NULL,X'8005950A000000000000004B008986947D9486942E');
INSERT INTO "calls" VALUES(3,X'01A2203FC2047A4F85040CE2514BDD74',1,2,1,1.7958373790925884247e+09,NULL,X'8005950A000000000000004B018986947D9486942E');
INSERT INTO "calls" VALUES(4,X'01A2203FC2047A7C85040CE2514BDD75',1,2,1,1.7958373790925884247e+09,NULL,X'8005950A000000000000004B028986947D9486942E');
INSERT INTO "calls" VALUES(5,X'01A2203FC2047DC585040CE2514BDD76',1,3,1,1.7958373790925884247e+09,'[2, 3, 4]',X'8005957B000000000000005D94288C176461676F72616D612E6D6F64656C732E70726F6D697365948C0870726F6D69736564949394431001A2203FC204799C85040CE2514BDD7394859452946803431001A2203FC2047A4F85040CE2514BDD7494859452946803431001A2203FC2047A7C85040CE2514BDD7594859452946585947D9486942E');
INSERT INTO "calls" VALUES(6,X'01A2203FC2C67DA38E180636F300E969',2,1,0,1.79583737927470684053e+09,NULL,X'80059508000000000000008885947D9486942E');
INSERT INTO "calls" VALUES(7,X'01A2203FC2EF784185040CE2514BDD77',2,2,6,1795837379.31288,NULL,X'8005950A000000000000004B008886947D9486942E');
INSERT INTO "calls" VALUES(8,X'01A2203FC2EF78BB85040CE2514BDD78',2,2,6,1795837379.31288,NULL,X'8005950A000000000000004B018886947D9486942E');
INSERT INTO "calls" VALUES(9,X'01A2203FC2EF78F085040CE2514BDD79',2,2,6,1795837379.31288,NULL,X'8005950A000000000000004B028886947D9486942E');
INSERT INTO "calls" VALUES(10,X'01A2203FC2EF79D685040CE2514BDD7A',2,3,6,1795837379.31288,'[7, 8, 9]',X'8005957B000000000000005D94288C176461676F72616D612E6D6F64656C732E70726F6D697365948C0870726F6D69736564949394431001A2203FC2EF784185040CE2514BDD7794859452946803431001A2203FC2EF78BB85040CE2514BDD7894859452946803431001A2203FC2EF78F085040CE2514BDD7994859452946585947D9486942E');
INSERT INTO "calls" VALUES(11,X'01A2203FC38F7DF08E180636F300E96B',3,1,0,1.79583737947315287587e+09,NULL,X'80059508000000000000008985947D9486942E');
CREATE TABLE epochs (
    epoch INTEGER PRIMARY KEY, -- one for each time that a broker opened this storage
    opened_at REAL NOT NULL
, boot TEXT, offset_s REAL);
INSERT INTO "epochs" VALUES(1,1.79583737441685390478e+09,NULL,1.79581131574206852912e+09);
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
, share_group TEXT NOT NULL DEFAULT '', priority INTEGER NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0, running_max INTEGER NOT NULL DEFAULT 0, deadline_at REAL, void_token INTEGER NOT NULL DEFAULT 0, key TEXT, body TEXT, tags TEXT, ends INTEGER, started_by TEXT);
INSERT INTO "instances" VALUES(1,X'01A2203FBF6E777D8E180636F300E966','tests.scenarios.library.older_definitions:Older','completed',1.79583737903493642802e+09,1.79583737920683932307e+09,'{"completed": 5}','',0,0,0,NULL,0,NULL,NULL,NULL,NULL,'root@xx');
INSERT INTO "instances" VALUES(2,X'01A2203FC2C67BF88E180636F300E968','tests.scenarios.library.older_definitions:Older','failed',1.79583737927470684053e+09,1.79583737938935112951e+09,'{"completed": 2, "failed": 1, "dependency_failed": 2}','',0,0,0,NULL,0,NULL,NULL,NULL,NULL,'root@xx');
INSERT INTO "instances" VALUES(3,X'01A2203FC38F7C638E180636F300E96A','tests.scenarios.library.older_definitions:Older','running',1.79583737947315287587e+09,NULL,NULL,'',0,0,0,NULL,0,NULL,NULL,NULL,NULL,'root@xx');
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
INSERT INTO "outcomes" VALUES(1,'completed',1.79583737920683932307e+09,NULL,'[5]',NULL,NULL,NULL,5,1,1.79583737903520631795e+09,2.33969999999999976603e-02,1.7958373790925884247e+09);
INSERT INTO "outcomes" VALUES(2,'completed',1.79583737914796495432e+09,X'80054B002E',NULL,NULL,NULL,NULL,NULL,1,1.79583737909289550783e+09,0.005781,NULL);
INSERT INTO "outcomes" VALUES(3,'completed',1.79583737916415309902e+09,X'80054B012E',NULL,NULL,NULL,NULL,NULL,1,1.79583737914820218079e+09,0.000256,NULL);
INSERT INTO "outcomes" VALUES(4,'completed',1.79583737919061684614e+09,X'80054B022E',NULL,NULL,NULL,NULL,NULL,1,1.79583737916437339784e+09,0.000256,NULL);
INSERT INTO "outcomes" VALUES(5,'completed',1.79583737920683932307e+09,X'80054B032E',NULL,NULL,NULL,NULL,NULL,1,1.79583737919083333018e+09,0.000305,NULL);
INSERT INTO "outcomes" VALUES(6,'dependency_failed',1.79583737934951066968e+09,NULL,'[10]',8,NULL,NULL,NULL,1,1.79583737927491641044e+09,0.000263,1795837379.31288);
INSERT INTO "outcomes" VALUES(7,'completed',1.79583737934951066968e+09,X'80054B002E',NULL,NULL,NULL,NULL,NULL,1,1.79583737931316614151e+09,0.000212,NULL);
INSERT INTO "outcomes" VALUES(8,'failed',1.79583737934951066968e+09,NULL,NULL,8,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "outcomes" VALUES(9,'completed',1.79583737938935112951e+09,X'80054B022E',NULL,NULL,NULL,NULL,NULL,1,1.79583737934973382949e+09,2.29999999999999979851e-04,NULL);
INSERT INTO "outcomes" VALUES(10,'dependency_failed',1.79583737934951066968e+09,NULL,NULL,8,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL,
    running_max INTEGER NOT NULL -- 0: no cap
) WITHOUT ROWID;
CREATE TABLE removed (node_last INTEGER NOT NULL);
INSERT INTO "removed" VALUES(0);
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
INSERT INTO "schema" VALUES(1,1795837374.0);
INSERT INTO "schema" VALUES(2,1795837374.0);
INSERT INTO "schema" VALUES(3,1795837374.0);
INSERT INTO "schema" VALUES(4,1795837374.0);
INSERT INTO "schema" VALUES(5,1795837374.0);
INSERT INTO "schema" VALUES(6,1795837374.0);
INSERT INTO "schema" VALUES(7,1795837374.0);
INSERT INTO "schema" VALUES(8,1795837374.0);
INSERT INTO "schema" VALUES(9,1795837374.0);
INSERT INTO "schema" VALUES(10,1795837374.0);
INSERT INTO "schema" VALUES(11,1795837374.0);
INSERT INTO "schema" VALUES(12,1795837374.0);
INSERT INTO "schema" VALUES(13,1795837374.0);
INSERT INTO "schema" VALUES(14,1795837374.0);
INSERT INTO "schema" VALUES(15,1795837374.0);
CREATE TABLE tags (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    instance INTEGER NOT NULL,
    PRIMARY KEY (name, value, instance)
) WITHOUT ROWID;
CREATE TABLE value_owner (id BLOB NOT NULL);
INSERT INTO "value_owner" VALUES(X'6074BAA8F8C8AEFFA1E6837709C7EA13');
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
INSERT INTO "worker_names" VALUES(1,'xx:29126');
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
COMMIT;
