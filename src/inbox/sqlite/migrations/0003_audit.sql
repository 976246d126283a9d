-- The latest audit: one row, or none.
CREATE TABLE audits (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL,
    notices INTEGER NOT NULL CHECK (notices >= 0),
    deliveries INTEGER NOT NULL CHECK (deliveries >= 0),
    findings INTEGER NOT NULL CHECK (findings >= 0)
) STRICT;
