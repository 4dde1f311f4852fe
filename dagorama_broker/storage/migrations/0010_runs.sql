-- Which attempt gave a node its value, or was cancelled. NULL: none is known.
ALTER TABLE outcomes ADD COLUMN worker INTEGER; -- number of its worker's name
ALTER TABLE outcomes ADD COLUMN granted_at REAL;
ALTER TABLE outcomes ADD COLUMN duration_s REAL; -- as the worker has told; 0: it has not
ALTER TABLE outcomes ADD COLUMN joined_at REAL; -- when it ended, for a node that waited then for what it had returned
ALTER TABLE attempts ADD COLUMN granted_at REAL NOT NULL DEFAULT 0; -- 0: none ran, or it is not known
ALTER TABLE attempts ADD COLUMN duration_s REAL NOT NULL DEFAULT 0;

-- The names of all workers that have ever run a node to its end.
CREATE TABLE worker_names (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

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
