-- What calls have said last about limits, where it differs from what calls before had said.
CREATE TABLE limits (
    key TEXT PRIMARY KEY,
    said_by INTEGER NOT NULL, -- seq of the node whose call said so
    running_max INTEGER NOT NULL, -- 0: any number
    rate_per_s REAL NOT NULL, -- 0: any rate
    burst INTEGER NOT NULL
) WITHOUT ROWID;
