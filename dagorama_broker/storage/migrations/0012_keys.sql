-- What an instance was started under, and what people have said about it.
ALTER TABLE instances ADD COLUMN key TEXT; -- NULL: none
ALTER TABLE instances ADD COLUMN body TEXT; -- JSON: what was started under the key; NULL: it has none
ALTER TABLE instances ADD COLUMN tags TEXT; -- JSON list of pairs; NULL: none
CREATE INDEX instances_by_key ON instances (key) WHERE key IS NOT NULL;

-- The same tags again, to find instances by.
CREATE TABLE tags (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    instance INTEGER NOT NULL,
    PRIMARY KEY (name, value, instance)
) WITHOUT ROWID;

-- Of finished instances, people ask for those that did not complete.
CREATE INDEX instances_failed ON instances (seq) WHERE state = 'failed';
CREATE INDEX instances_cancelled ON instances (seq) WHERE state = 'cancelled';
