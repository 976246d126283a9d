-- What the steady clock showed last, on which start of the machine, and how long that was up: one row, or none.
CREATE TABLE times (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL,
    boot BLOB NOT NULL CHECK (length(boot) = 16),
    uptime INTEGER NOT NULL
) STRICT;
