-- For how long instances are kept after their end, and what is left of those that were pruned. Lived time is the time
-- for which this storage has been in use, in seconds: it begins with this migration, and no clock can set it.
ALTER TABLE instances ADD COLUMN keep TEXT; -- JSON list of seconds, by how it ends; NULL: as the broker is set
ALTER TABLE instances ADD COLUMN ended_on REAL; -- lived time at its end; NULL: it runs, or ended before there was any
ALTER TABLE instances ADD COLUMN kept_until REAL; -- lived time until which its own option keeps it; NULL: it has none
-- Each look at what is to go reads no instance that stays: those with an option have indexes of their own.
CREATE INDEX instances_ended ON instances (state, ended_on) WHERE state <> 'running' AND kept_until IS NULL;
CREATE INDEX instances_kept ON instances (kept_until) WHERE kept_until IS NOT NULL;
CREATE INDEX instances_kept_since ON instances (ended_on) WHERE kept_until < 9e999; -- not those kept for ever

CREATE TABLE lived (at REAL NOT NULL, lived_s REAL NOT NULL); -- one row at most: when it was noted last

-- Instances that were pruned: nobody is to start them again.
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
CREATE INDEX tombstones_by_key ON tombstones (key) WHERE key IS NOT NULL;
CREATE INDEX tombstones_by_age ON tombstones (pruned_on);

-- Of these, the ones that still have rows in other tables.
CREATE TABLE sweeps (
    instance INTEGER PRIMARY KEY,
    id BLOB NOT NULL
);

-- The highest numbers that were ever given, where no other row may tell of them.
ALTER TABLE removed ADD COLUMN instance_last INTEGER NOT NULL DEFAULT 0;
ALTER TABLE removed ADD COLUMN action_last INTEGER NOT NULL DEFAULT 0;
