-- When the sources were told, by ranges of notices. Those of one commit have consecutive numbers, so that a commit is one
-- small row here, where a column of its notices would have each written once more, with its body. What was told before
-- this step stays in `notices.settled`.
CREATE TABLE settlements (
    first INTEGER NOT NULL,
    -- The bound lets a notice's range be found from its number.
    last INTEGER NOT NULL CHECK (last >= first AND last < first + 1000),
    at INTEGER NOT NULL,
    PRIMARY KEY (first, last)
) STRICT, WITHOUT ROWID;
