-- Times are milliseconds since 1970 UTC. States are words, so that the file can be read with any SQLite shell.
-- A predicate of a partial index is written with OR, not IN: SQLite then uses the index for a query on one of the
-- states. No index grows with what is finished except those that pruning and `longshore status` need.

CREATE TABLE notices (
    -- AUTOINCREMENT: a number that people have seen is never given to another notice, also after pruning.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    feed TEXT NOT NULL,
    dedupe_key TEXT NOT NULL,
    -- What the feed decided when it heard the notice, and why; a replay does not change it.
    verdict TEXT NOT NULL CHECK (verdict IN ('accepted', 'skipped', 'unreadable')),
    state TEXT NOT NULL CHECK (state IN ('heard', 'open', 'finished', 'skipped', 'quarantined')),
    -- Why it is skipped or quarantined.
    reason TEXT,
    -- The run that its next or latest deliveries belong to: 0 for the first, else a row of `runs`.
    run INTEGER NOT NULL DEFAULT 0 CHECK (run >= 0),
    published INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    -- When the source was told; NULL as long as it was not.
    settled INTEGER,
    -- When the state became finished, skipped or quarantined.
    ended INTEGER,
    -- How often it arrived, and when last.
    seen_count INTEGER NOT NULL DEFAULT 1 CHECK (seen_count >= 1),
    last_seen INTEGER NOT NULL,
    -- Parked and quarantined records of the deliveries that count; more than 0 keeps it from being pruned.
    withheld INTEGER NOT NULL DEFAULT 0 CHECK (withheld >= 0),
    -- The source's own count of earlier deliveries.
    delivery_count INTEGER NOT NULL CHECK (delivery_count >= 0),
    blob_type TEXT NOT NULL,
    correlation_id TEXT,
    uri TEXT,
    content_type TEXT,
    content_encoding TEXT,
    properties TEXT,
    -- Last, so that a query that does not ask for it never reads its overflow pages.
    body BLOB,
    UNIQUE (feed, dedupe_key),
    CHECK ((state IN ('finished', 'skipped', 'quarantined')) = (ended IS NOT NULL)),
    CHECK (state NOT IN ('skipped', 'quarantined') OR reason IS NOT NULL)
) STRICT;

CREATE INDEX notices_unfinished ON notices (state, id)
    WHERE state = 'heard' OR state = 'open' OR state = 'quarantined';
CREATE INDEX notices_ended ON notices (withheld, ended, state)
    WHERE state = 'finished' OR state = 'skipped';

-- The files of one blob type on one route to one sink. The blob type is in lower case here.
CREATE TABLE lanes (
    id INTEGER PRIMARY KEY,
    route TEXT NOT NULL,
    sink TEXT NOT NULL,
    blob_type TEXT NOT NULL,
    UNIQUE (route, sink, blob_type)
) STRICT;

-- The replays. `routes` is a JSON array of route names that the run is limited to; NULL for all.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    started INTEGER NOT NULL,
    selector TEXT NOT NULL,
    routes TEXT
) STRICT;

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    notice INTEGER NOT NULL REFERENCES notices (id) ON DELETE CASCADE,
    run INTEGER NOT NULL CHECK (run >= 0),
    lane INTEGER NOT NULL REFERENCES lanes (id),
    -- Copies of the notice's, so that the order of a lane is one index.
    published INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('ready', 'claimed', 'done', 'quarantined')),
    -- Attempts that were used up, and claims that were taken over because their lease ran out.
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    lost INTEGER NOT NULL DEFAULT 0 CHECK (lost >= 0),
    -- Grows with every claim; a write names the claim that it is made under.
    claim INTEGER NOT NULL DEFAULT 0 CHECK (claim >= 0),
    worker TEXT,
    claimed INTEGER,
    lease_until INTEGER,
    -- Not before this moment; NULL: at once.
    due INTEGER,
    since INTEGER NOT NULL,
    ended INTEGER,
    -- The later run that took this delivery's place.
    replaced_by INTEGER,
    confirmed INTEGER NOT NULL DEFAULT 0 CHECK (confirmed >= 0),
    read INTEGER NOT NULL DEFAULT 0 CHECK (read >= 0),
    delivered INTEGER NOT NULL DEFAULT 0 CHECK (delivered >= 0),
    filtered INTEGER NOT NULL DEFAULT 0 CHECK (filtered >= 0),
    parked INTEGER NOT NULL DEFAULT 0 CHECK (parked >= 0),
    quarantined INTEGER NOT NULL DEFAULT 0 CHECK (quarantined >= 0),
    bytes INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    -- Of the latest attempt that failed.
    class TEXT,
    error TEXT,
    location TEXT,
    UNIQUE (notice, run, lane),
    CHECK ((state = 'claimed') = (lease_until IS NOT NULL)),
    CHECK ((state = 'claimed') = (claimed IS NOT NULL)),
    CHECK ((state = 'claimed') = (worker IS NOT NULL)),
    CHECK (state != 'claimed' OR claim >= 1),
    CHECK (due IS NULL OR state = 'ready'),
    CHECK ((state IN ('done', 'quarantined')) = (ended IS NOT NULL)),
    CHECK ((class IS NULL) = (error IS NULL)),
    CHECK (state != 'done' OR location IS NOT NULL),
    CHECK (state != 'quarantined' OR error IS NOT NULL),
    CHECK (state != 'done' OR read = delivered + filtered + parked + quarantined)
) STRICT;

-- The order of each lane, whatever its deliveries wait for: its first row is what ordering by blob type looks at.
CREATE INDEX deliveries_lane ON deliveries (lane, published, sequence, notice)
    WHERE state = 'ready' OR state = 'claimed';
-- The same without those that are claimed or wait for time: for work in any order.
CREATE INDEX deliveries_ready ON deliveries (lane, published, sequence, notice)
    WHERE state = 'ready' AND due IS NULL;
CREATE INDEX deliveries_due ON deliveries (due) WHERE due IS NOT NULL;
CREATE INDEX deliveries_claimed ON deliveries (lease_until) WHERE state = 'claimed';
CREATE INDEX deliveries_quarantined ON deliveries (lane) WHERE state = 'quarantined' AND replaced_by IS NULL;
-- Always empty, as the CHECK above keeps it: makes looking for an account that does not add up cost nothing.
CREATE INDEX deliveries_unbalanced ON deliveries (id)
    WHERE state = 'done' AND read != delivered + filtered + parked + quarantined;

-- The claims that ended, at most the latest fifty of a delivery.
CREATE TABLE attempts (
    delivery INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    claim INTEGER NOT NULL,
    worker TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('done', 'retry', 'quarantined', 'released', 'lost')),
    -- How far the delivery had come by then.
    confirmed INTEGER NOT NULL,
    class TEXT,
    error TEXT,
    PRIMARY KEY (delivery, claim),
    CHECK ((class IS NULL) = (error IS NULL)),
    CHECK (outcome NOT IN ('retry', 'quarantined') OR error IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- The records that were set aside. `position` is the offset in the decompressed payload.
CREATE TABLE bad_records (
    delivery INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    position INTEGER NOT NULL CHECK (position >= 0),
    class TEXT NOT NULL,
    reason TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;

-- What was done in each hour (hours since 1970 UTC), kept apart so that it costs nothing to ask and outlives pruning.
CREATE TABLE tallies (
    hour INTEGER NOT NULL,
    route TEXT NOT NULL,
    deliveries INTEGER NOT NULL,
    read INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    filtered INTEGER NOT NULL,
    parked INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (hour, route)
) STRICT, WITHOUT ROWID;

-- The daemons that use this inbox (`listen` and `work` may be two), and how their parts are.
CREATE TABLE daemons (
    instance TEXT PRIMARY KEY,
    mode TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    started INTEGER NOT NULL,
    heartbeat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE components (
    instance TEXT NOT NULL REFERENCES daemons (instance) ON DELETE CASCADE,
    name TEXT NOT NULL,
    condition TEXT NOT NULL CHECK (condition IN ('good', 'starting', 'degraded')),
    note TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (instance, name)
) STRICT, WITHOUT ROWID;
