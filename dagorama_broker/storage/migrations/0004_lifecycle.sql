-- How long a node of a function may be ready before a worker takes it, and whether it must not run twice.
ALTER TABLE functions ADD COLUMN start_timeout_s REAL NOT NULL DEFAULT 0; -- 0: no limit
ALTER TABLE functions ADD COLUMN at_most_once INTEGER NOT NULL DEFAULT 0;

-- When whatever of an instance has not ended fails.
ALTER TABLE instances ADD COLUMN deadline_at REAL; -- NULL: never

-- Digest of the value that a node had before its last rerun.
ALTER TABLE outcomes ADD COLUMN previous BLOB; -- NULL: no rerun; empty: it had no value
