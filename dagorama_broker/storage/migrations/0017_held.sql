-- How much large values take that an instance refers to, each counted once: known when it ends, for calls that come later.
ALTER TABLE instances ADD COLUMN held_bytes INTEGER NOT NULL DEFAULT 0; -- 0: it runs, or has none
UPDATE instances SET held_bytes = (
    SELECT CAST(total(bytes) AS INTEGER) FROM (SELECT max(size) AS bytes FROM value_uses WHERE instance = instances.seq GROUP BY digest)
) WHERE state <> 'running' AND seq IN (SELECT instance FROM value_uses);
