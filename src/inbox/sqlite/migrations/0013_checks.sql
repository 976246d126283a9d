-- For a list of more than two words, SQLite makes and fills a temporary tree whenever a statement checks a row, three of
-- them for each notice that is stored. The same checks with OR compare, and allow just the same rows, so that no row needs
-- to be looked at. This is the way that SQLite describes for changing a CHECK (https://www.sqlite.org/lang_altertable.html, section 7).
PRAGMA writable_schema = ON;

UPDATE sqlite_schema SET sql = replace(replace(replace(sql,
    'verdict IN (''accepted'', ''skipped'', ''unreadable'')',
    'verdict = ''accepted'' OR verdict = ''skipped'' OR verdict = ''unreadable'''),
    'state IN (''heard'', ''open'', ''finished'', ''skipped'', ''quarantined'')',
    'state = ''heard'' OR state = ''open'' OR state = ''finished'' OR state = ''skipped'' OR state = ''quarantined'''),
    'state IN (''finished'', ''skipped'', ''quarantined'')',
    'state = ''finished'' OR state = ''skipped'' OR state = ''quarantined''')
WHERE type = 'table' AND name = 'notices';

UPDATE sqlite_schema SET sql = replace(sql,
    'state IN (''ready'', ''claimed'', ''done'', ''quarantined'')',
    'state = ''ready'' OR state = ''claimed'' OR state = ''done'' OR state = ''quarantined''')
WHERE type = 'table' AND name = 'deliveries';

UPDATE sqlite_schema SET sql = replace(sql,
    'outcome IN (''done'', ''retry'', ''quarantined'', ''released'', ''lost'')',
    'outcome = ''done'' OR outcome = ''retry'' OR outcome = ''quarantined'' OR outcome = ''released'' OR outcome = ''lost''')
WHERE type = 'table' AND name = 'attempts';

UPDATE sqlite_schema SET sql = replace(sql,
    'state IN (''decided'', ''refused'', ''waiting'')',
    'state = ''decided'' OR state = ''refused'' OR state = ''waiting''')
WHERE type = 'table' AND name = 'parked';

-- Reads the schema anew.
PRAGMA writable_schema = RESET;
