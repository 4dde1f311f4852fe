-- Promises are looked up by id. Clients make ids that begin with the time, so that this index, too, mostly appends.
CREATE INDEX calls_by_id ON calls (instance, id);

-- For an alias that has completed, the node that its value comes from, however many hops away. NULL: follow `promises`.
ALTER TABLE outcomes ADD COLUMN source INTEGER;
