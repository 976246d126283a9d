-- Reconciling an export with a webhook: which events a feed has heard, by a hash of what they say.
CREATE TABLE event_feeds (
    id INTEGER PRIMARY KEY,
    feed TEXT NOT NULL UNIQUE
) STRICT;

-- Some fifty bytes an event, with its index.
CREATE TABLE heard_events (
    feed INTEGER NOT NULL,
    key BLOB NOT NULL CHECK (length(key) = 16),
    -- Days since 1970, UTC; they are forgotten by it.
    day INTEGER NOT NULL,
    PRIMARY KEY (feed, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX heard_events_day ON heard_events (day);

-- Of the filtered records of a delivery, those whose event was known.
ALTER TABLE deliveries ADD COLUMN known INTEGER NOT NULL DEFAULT 0 CHECK (known >= 0);
