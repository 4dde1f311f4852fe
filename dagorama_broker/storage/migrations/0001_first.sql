-- The metadata database. Numbers (seq) are given by the core and grow, so that every insert appends.
-- Read `nodes` and `dependencies`, which are views; the tables below them are laid out for writing.
-- Times are seconds since 1970; ids are the 16 bytes of a UUID.

CREATE TABLE schema (
    number INTEGER PRIMARY KEY, -- of a migration that has been run
    applied_at REAL NOT NULL
);

CREATE TABLE epochs (
    epoch INTEGER PRIMARY KEY, -- one for each time that a broker opened this storage
    opened_at REAL NOT NULL
);

CREATE TABLE workers (
    id BLOB PRIMARY KEY, -- those that have not left
    name TEXT NOT NULL,
    joined_at REAL NOT NULL
) WITHOUT ROWID;

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
);

CREATE TABLE instances (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    definition TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL,
    counts TEXT -- JSON: how many nodes ended in each state; NULL while the instance runs
);
CREATE INDEX instances_running ON instances (seq) WHERE state = 'running';

-- What is known of a node when it is made, and never changes.
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
CREATE INDEX calls_by_instance ON calls (instance);

-- How far a node has got. It has no row here until something other than waiting, being ready or leased has happened.
CREATE TABLE outcomes (
    node INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    at REAL, -- when it ended, or for one that backs off, when it may run again
    payload BLOB, -- NULL for an alias: it has the value of its only promise
    promises TEXT, -- JSON list of seq of the nodes that the payload refers to
    cause INTEGER -- seq of the node where its failure began
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
);
CREATE INDEX attempts_by_node ON attempts (instance, node);

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
    CASE WHEN outcomes.state <> 'backoff' THEN outcomes.at END AS finished_at,
    CASE WHEN outcomes.state = 'backoff' THEN outcomes.at END AS retry_at,
    outcomes.cause,
    calls.arguments,
    outcomes.payload
FROM calls
JOIN functions ON functions.id = calls.function
LEFT JOIN outcomes ON outcomes.node = calls.seq;

CREATE VIEW dependencies AS
SELECT calls.instance, calls.seq AS node, entry.key AS position, entry.value AS dependency
FROM calls, json_each(calls.dependencies) AS entry;
