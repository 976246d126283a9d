-- Keys of notices that were pruned while what they announced could still come again: then it is a duplicate. A key is 128
-- bits of a hash over feed and key, so that a row has the same size whatever the sender chose.
CREATE TABLE outlived_keys (
    key BLOB PRIMARY KEY CHECK (length(key) = 16),
    -- The notice that was pruned.
    notice INTEGER NOT NULL,
    -- When it arrived last.
    seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX outlived_keys_seen ON outlived_keys (seen);

-- How many there are: one row, so that nobody has to count, and storing knows without a look whether there is any.
CREATE TABLE outlived_keys_count (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    keys INTEGER NOT NULL CHECK (keys >= 0)
) STRICT;

INSERT INTO outlived_keys_count (id, keys) VALUES (1, 0);
