-- The code versions that the calls which nodes of a function make are to have, for the workers to read.
ALTER TABLE functions ADD COLUMN release TEXT NOT NULL DEFAULT '';
