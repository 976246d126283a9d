-- The keys of notices leave their table, so that they can be written down later and in order: a sender's keys lie all over
-- an index, and each would cost a page of the log (see `keys.rs`).
--
-- The index that kept them has, row by row and in the same order, what a table WITHOUT ROWID of the same columns has
-- (https://www.sqlite.org/fileformat2.html, sections 2.4 and 2.5.1): it becomes that table as it is, however large.
-- Written as SQLite describes for changes that need not touch a row (https://www.sqlite.org/lang_altertable.html, section 7).
PRAGMA writable_schema = ON;

UPDATE sqlite_schema SET sql = replace(sql, '    UNIQUE (feed, dedupe_key),
', '')
WHERE type = 'table' AND name = 'notices';

UPDATE sqlite_schema SET type = 'table', name = 'keys', tbl_name = 'keys', sql =
'CREATE TABLE keys (
    feed TEXT NOT NULL,
    dedupe_key TEXT NOT NULL,
    notice INTEGER NOT NULL,
    PRIMARY KEY (feed, dedupe_key)
) STRICT, WITHOUT ROWID'
WHERE type = 'index' AND name = 'sqlite_autoindex_notices_1';

-- Reads the schema anew.
PRAGMA writable_schema = RESET;

-- The notices up to which all keys are in `keys`; of later ones some may be.
CREATE TABLE keys_filed (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    upto INTEGER NOT NULL CHECK (upto >= 0)
) STRICT;

INSERT INTO keys_filed (one, upto) SELECT 1, coalesce(max(id), 0) FROM notices;

-- Every notice once, by its key. Cheap for one feed or one key, but for the few thousand notices that wait.
CREATE VIEW notice_keys (feed, dedupe_key, notice) AS
    SELECT feed, dedupe_key, notice FROM keys WHERE notice <= (SELECT upto FROM keys_filed WHERE one = 1)
    UNION ALL
    SELECT feed, dedupe_key, id FROM notices WHERE id > (SELECT upto FROM keys_filed WHERE one = 1);
