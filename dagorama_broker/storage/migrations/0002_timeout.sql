-- How long an attempt of a function may take.
ALTER TABLE functions ADD COLUMN timeout_s REAL NOT NULL DEFAULT 0; -- 0: no limit
