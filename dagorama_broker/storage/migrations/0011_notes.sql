-- What is shown of nodes beside what they are. Only nodes of which there is something have a row here.
CREATE TABLE notes (
    node INTEGER PRIMARY KEY,
    label TEXT,
    inputs TEXT -- the arguments as a text for people, where they are not given out themselves
);

-- How the arguments of a function's nodes are shown, and whether they may be given to people who look.
ALTER TABLE functions ADD COLUMN parameters TEXT NOT NULL DEFAULT '';
ALTER TABLE functions ADD COLUMN shows_inputs INTEGER NOT NULL DEFAULT 0;
