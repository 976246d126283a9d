-- What people decide about what was set aside. A decision is a run, as a replay is.
ALTER TABLE runs ADD COLUMN kind TEXT NOT NULL DEFAULT 'replay' CHECK (kind IN ('replay', 'release', 'discard'));

-- Of the quarantined records of a delivery, those that were discarded: still in its account, and waiting for nobody.
ALTER TABLE deliveries ADD COLUMN discarded INTEGER NOT NULL DEFAULT 0 CHECK (discarded BETWEEN 0 AND quarantined);

-- Whether `bytes` are the body of a record that could be read (one JSON value), and whether they are its beginning only.
ALTER TABLE bad_records ADD COLUMN readable INTEGER NOT NULL DEFAULT 0 CHECK (readable IN (0, 1));
ALTER TABLE bad_records ADD COLUMN cut INTEGER NOT NULL DEFAULT 0 CHECK (cut IN (0, 1));
-- When it was discarded; NULL as long as it waits for a decision.
ALTER TABLE bad_records ADD COLUMN discarded INTEGER;
