-- Who has started an instance, as the client has said; NULL: it has not.
ALTER TABLE instances ADD COLUMN started_by TEXT;

-- What people have done, and the ends of instances that go on since. It is written when somebody does something.
CREATE TABLE actions (
    seq INTEGER PRIMARY KEY,
    instance INTEGER, -- NULL: it was done to something else
    subject TEXT NOT NULL, -- that: "queue NAME", "worker NAME"; empty: an instance
    at REAL NOT NULL,
    verb TEXT NOT NULL,
    actor TEXT NOT NULL,
    details TEXT NOT NULL -- JSON list of pairs
);
CREATE INDEX actions_by_instance ON actions (instance, seq) WHERE instance IS NOT NULL;
CREATE INDEX actions_by_subject ON actions (subject, seq) WHERE instance IS NULL;
