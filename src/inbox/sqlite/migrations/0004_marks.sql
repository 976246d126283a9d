-- How far a feed has come with a source that does not keep count itself, in the feed's own words.
CREATE TABLE marks (
    feed TEXT PRIMARY KEY,
    mark TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
