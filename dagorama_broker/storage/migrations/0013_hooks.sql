-- The calls that are made each time when an instance ends.
CREATE TABLE hooks (
    instance INTEGER NOT NULL,
    place INTEGER NOT NULL, -- they are made in this order
    function INTEGER NOT NULL,
    arguments BLOB NOT NULL,
    only_failed INTEGER NOT NULL, -- 1: not where it has completed, or was cancelled
    PRIMARY KEY (instance, place)
) WITHOUT ROWID;
ALTER TABLE instances ADD COLUMN ends INTEGER; -- how often it has ended, where it has hooks
