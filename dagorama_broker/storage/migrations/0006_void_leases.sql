-- Leases that nobody may go on under, by their fencing tokens: all up to the one that stands here.
ALTER TABLE attempts ADD COLUMN token INTEGER NOT NULL DEFAULT 0; -- the last one given for this attempt; 0: not known
ALTER TABLE instances ADD COLUMN void_token INTEGER NOT NULL DEFAULT 0; -- given before nodes began anew; 0: none did
