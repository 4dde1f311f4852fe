-- Which payloads refer to values in the value store. Written and removed with the payloads, in the same commit.
CREATE TABLE value_uses (
    instance INTEGER NOT NULL,
    node INTEGER NOT NULL, -- seq; 0: it is for the instance itself
    part TEXT NOT NULL, -- 'arguments', 'result', 'definition', 'exception', 'hook'
    digest BLOB NOT NULL, -- SHA-256 of the value
    size INTEGER NOT NULL, -- of the value, in bytes
    PRIMARY KEY (instance, node, part, digest)
) WITHOUT ROWID;
CREATE INDEX value_uses_by_digest ON value_uses (digest);

-- Who the values in a store belong to: no other broker may collect them. One row.
CREATE TABLE value_owner (id BLOB NOT NULL);
INSERT INTO value_owner VALUES (randomblob(16));
