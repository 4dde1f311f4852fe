-- What people say about the order in which nodes are granted, and how many at once.
ALTER TABLE functions ADD COLUMN limits TEXT; -- JSON list of [max, rate_per_s, burst]; NULL for none
ALTER TABLE instances ADD COLUMN share_group TEXT NOT NULL DEFAULT ''; -- shares the workers' time with other groups
ALTER TABLE instances ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN running_max INTEGER NOT NULL DEFAULT 0; -- 0: no cap

-- Only nodes of functions with limits have a row here.
CREATE TABLE limited (
    node INTEGER PRIMARY KEY,
    keys TEXT NOT NULL -- JSON list with a key for each limit of the node's function
);

-- Only queues about which something has been said.
CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL,
    running_max INTEGER NOT NULL -- 0: no cap
) WITHOUT ROWID;
