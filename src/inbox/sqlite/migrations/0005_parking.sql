-- Parking: which entities each sink knows, which records wait for one, and what is to be done about it.

-- For a notice made of parked records: the notice that they came from.
ALTER TABLE notices ADD COLUMN woken_from INTEGER;

-- An entity at a sink. A small number for each, so that a key costs few bytes.
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY,
    sink TEXT NOT NULL,
    entity TEXT NOT NULL,
    -- How many keys are known.
    known INTEGER NOT NULL DEFAULT 0 CHECK (known >= 0),
    UNIQUE (sink, entity)
) STRICT;

-- The keys that are known: 128-bit hashes. A key takes 23 bytes of a page, so 33 in a tree filled at random.
CREATE TABLE known_keys (
    scope INTEGER NOT NULL,
    key BLOB NOT NULL CHECK (length(key) = 16),
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

-- Keys of records that a sink only holds: registered when their delivery is done, dropped when it starts over.
CREATE TABLE staged_keys (
    delivery INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    key BLOB NOT NULL CHECK (length(key) = 16),
    gone INTEGER NOT NULL CHECK (gone IN (0, 1)),
    PRIMARY KEY (delivery, scope, key)
) STRICT, WITHOUT ROWID;

-- Records whose parent is missing, under the delivery that read them. `decided`: its delivery has not ended yet;
-- `refused`: as that, of a record that is set aside by its delivery itself; `waiting`: parked in force.
CREATE TABLE parked (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    position INTEGER NOT NULL CHECK (position >= 0),
    state TEXT NOT NULL CHECK (state IN ('decided', 'refused', 'waiting')),
    lane INTEGER NOT NULL REFERENCES lanes (id),
    -- The notice's, for the order in which records are woken.
    published INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    since INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    at_deadline TEXT NOT NULL CHECK (at_deadline IN ('quarantine', 'deliver')),
    -- The entity of the first missing parent, and all of them for people.
    entity TEXT NOT NULL,
    missing TEXT NOT NULL,
    -- What the record is about, where a newer one may take its place.
    own_scope INTEGER,
    own_key BLOB,
    -- The missing parents: for each its scope, a count, and that many keys, any of which will do.
    refs BLOB NOT NULL,
    -- Last, so that a list never reads its overflow pages.
    body BLOB NOT NULL,
    UNIQUE (delivery, number),
    CHECK ((own_scope IS NULL) = (own_key IS NULL))
) STRICT;

CREATE INDEX parked_deadline ON parked (deadline) WHERE state = 'waiting';
CREATE INDEX parked_since ON parked (since, id) WHERE state = 'waiting';
CREATE INDEX parked_own ON parked (lane, own_scope, own_key) WHERE own_key IS NOT NULL AND state = 'waiting';

-- What each parking record in force waits for, in the order in which it is woken.
CREATE TABLE waits (
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    published INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    notice INTEGER NOT NULL,
    number INTEGER NOT NULL,
    parked INTEGER NOT NULL,
    PRIMARY KEY (scope, key, published, sequence, notice, number, parked)
) STRICT, WITHOUT ROWID;

-- Keys that became known while something waited for them, and how far their waiters have been looked at.
CREATE TABLE wakes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    published INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    notice INTEGER NOT NULL,
    number INTEGER NOT NULL,
    parked INTEGER NOT NULL
) STRICT;

-- Ended and replaced deliveries whose staged keys and decisions are still to be seen to.
CREATE TABLE chores (
    delivery INTEGER PRIMARY KEY
) STRICT;

-- Woken notices that are not done: the delivery that their records belong to, NULL when a replay has replaced it.
CREATE TABLE woken (
    notice INTEGER PRIMARY KEY REFERENCES notices (id) ON DELETE CASCADE,
    delivery INTEGER REFERENCES deliveries (id) ON DELETE SET NULL,
    lane INTEGER NOT NULL REFERENCES lanes (id),
    released INTEGER NOT NULL CHECK (released IN (0, 1))
) STRICT;

CREATE INDEX woken_delivery ON woken (delivery) WHERE delivery IS NOT NULL;

-- Their records, by their numbers in the woken notice: where they came from, and since when they are parked.
CREATE TABLE woken_records (
    notice INTEGER NOT NULL REFERENCES woken (notice) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    origin_number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    since INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    PRIMARY KEY (notice, number)
) STRICT, WITHOUT ROWID;

-- How much is parked in each lane, also what is not in force yet. Kept by the triggers, which nothing can go around.
CREATE TABLE parking (
    lane INTEGER PRIMARY KEY REFERENCES lanes (id),
    records INTEGER NOT NULL CHECK (records >= 0),
    bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;

CREATE TRIGGER parked_in AFTER INSERT ON parked WHEN NEW.state != 'refused' BEGIN
    INSERT INTO parking (lane, records, bytes) VALUES (NEW.lane, 1, length(NEW.body))
        ON CONFLICT (lane) DO UPDATE SET records = records + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER parked_out AFTER DELETE ON parked WHEN OLD.state != 'refused' BEGIN
    UPDATE parking SET records = records - 1, bytes = bytes - length(OLD.body) WHERE lane = OLD.lane;
END;
