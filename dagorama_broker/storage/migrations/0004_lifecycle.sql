-- How long a node of a function may be ready before a worker takes it.
ALTER TABLE functions ADD COLUMN start_timeout_s REAL NOT NULL DEFAULT 0; -- 0: no limit

-- When whatever of an instance has not ended fails.
ALTER TABLE instances ADD COLUMN deadline_at REAL; -- NULL: never
