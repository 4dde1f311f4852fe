-- How long a node of a function may be ready before a worker takes it, and whether it must not run twice.
ALTER TABLE functions ADD COLUMN start_timeout_s REAL NOT NULL DEFAULT 0; -- 0: no limit
ALTER TABLE functions ADD COLUMN at_most_once INTEGER NOT NULL DEFAULT 0;

-- When whatever of an instance has not ended fails.
ALTER TABLE instances ADD COLUMN deadline_at REAL; -- NULL: never

-- The last request to retry or to rerun an instance, where it had an id.
CREATE TABLE requests (
    instance INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    node BLOB, -- id of the node to be run again; NULL: a retry
    nodes TEXT NOT NULL -- JSON list of seq of the nodes that a rerun let begin anew
);

-- The value that a node had before its last rerun, and how the one that it has now compares.
ALTER TABLE outcomes ADD COLUMN previous BLOB; -- digest; NULL: no rerun; empty: it had no value
ALTER TABLE outcomes ADD COLUMN change TEXT; -- 'same', 'changed', 'new'; NULL: no rerun, or no value since

-- `outcomes.at` is also, for a node that waits, when it was reset or handed back: that is not when it ended.
DROP VIEW nodes;
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
    outcomes.cause,
    calls.arguments,
    outcomes.payload
FROM calls
JOIN functions ON functions.id = calls.function
LEFT JOIN outcomes ON outcomes.node = calls.seq;

-- The highest number of a node that was removed: it is not given again, though no other row may tell of it. One row.
CREATE TABLE removed (node_last INTEGER NOT NULL);
INSERT INTO removed VALUES (0);
