//! The keys by which a notice that comes again is known.
//!
//! A sender's keys lie all over an index: would each go there with its notice, each would cost a page of 4 KiB in the
//! log, of 5.5 KiB that an event of a webhook wrote in all. So they wait in memory, in their order, until there are
//! several for each page, and go into the index a few with every batch.
//!
//! ```text
//! a batch ──> notices, in the log ─────────────────> read again after a crash, a rollback, another process's commit:
//!        └──> young ──(16,384)──> old ──> keys       whatever lies above `upto`
//!             in memory                   └── old is empty: `upto` moves
//! ```
//!
//! What always holds: each notice up to `keys_filed.upto` has its key in `keys`, and no notice above it is pruned. Memory
//! holds nothing that the notices do not say, so that it may be dropped at any time; and it is, whenever something is
//! rolled back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::writer::Outcome;
use crate::notice::FeedName;

/// Keys that wait before they are filed. More: fewer pages for each, and more notices to read after a crash.
pub(super) const WAITING_MAX: usize = 16_384;

/// Keys filed for each that comes, so that the old ones are gone before the young ones are as many.
const FILED_FOR_EACH: usize = 2;

/// Notices whose keys are filed in one commit when all are.
const NOTICES_A_STEP: i64 = 1_000;

pub(super) const FIND: &str = "SELECT notice FROM keys WHERE feed = ?1 AND dedupe_key = ?2";

/// A key without its notice is nobody's.
pub(super) const FILE: &str = "INSERT INTO keys (feed, dedupe_key, notice) VALUES (?1, ?2, ?3) \
     ON CONFLICT (feed, dedupe_key) DO UPDATE SET notice = excluded.notice";

const FILE_ALL: &str = "INSERT INTO keys (feed, dedupe_key, notice) \
     SELECT feed, dedupe_key, id FROM notices WHERE id > ?1 AND id <= ?2 ORDER BY feed, dedupe_key \
     ON CONFLICT (feed, dedupe_key) DO UPDATE SET notice = excluded.notice";

pub(super) const TAKE_OUT: &str = "DELETE FROM keys \
     WHERE (feed, dedupe_key) = (SELECT feed, dedupe_key FROM notices WHERE id = ?1) AND notice = ?1";

pub(super) const WAITING: &str =
    "SELECT dedupe_key, id FROM notices WHERE id > (SELECT upto FROM keys_filed WHERE one = 1) AND feed = ?1";

pub(super) const UNDER: &str =
    "SELECT dedupe_key, notice FROM keys WHERE feed = ?1 AND dedupe_key >= ?2 AND dedupe_key < ?3";

/// The keys that wait, for the writer's thread and what it runs.
#[derive(Clone, Debug)]
pub(super) struct WaitingKeys(Arc<Mutex<Waiting>>);

impl WaitingKeys {
    /// At most `max` keys wait, twice over.
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting { max, ..Waiting::default() })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called when something was rolled back.
    pub(super) fn forget(&self) {
        let mut waiting = self.lock();
        *waiting = Waiting { max: waiting.max, ..Waiting::default() };
    }
}

/// Feed and key, as they are ordered in `keys`. No feed's name has a NUL.
type Named = Box<[u8]>;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    max: usize,
    young: BTreeMap<Named, i64>,
    old: BTreeMap<Named, i64>,
    /// The last notice of `old`.
    old_upto: i64,
    /// As the table said last.
    upto: i64,
    /// The last notice that is here.
    seen: i64,
    scratch: Vec<u8>,
}

impl Waiting {
    /// Takes in what others have stored or filed. To be called in each transaction before a key is looked for.
    pub(super) fn catch_up(&mut self, connection: &Connection) -> Result<(), Fault> {
        let upto = upto(connection)?;
        if upto > self.upto {
            self.upto = upto;
            self.young.retain(|_, notice| *notice > upto);
            self.old.retain(|_, notice| *notice > upto);
        }
        let mut select = connection.prepare_cached("SELECT id, feed, dedupe_key FROM notices WHERE id > ?1")?;
        let mut rows = select.query([self.seen.max(upto)])?;
        while let Some(row) = rows.next()? {
            let text = |column| Ok::<_, Fault>(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?);
            let notice = row.get(0)?;
            name(&mut self.scratch, text(1)?, text(2)?);
            self.young.insert(self.scratch.as_slice().into(), notice);
            self.seen = notice;
        }
        Ok(())
    }

    /// The notice that a feed has stored under a key.
    pub(super) fn find(&mut self, connection: &Connection, feed: &str, key: &str) -> Result<Option<i64>, Fault> {
        name(&mut self.scratch, feed, key);
        if let Some(notice) = self.young.get(self.scratch.as_slice()).or_else(|| self.old.get(self.scratch.as_slice()))
        {
            return Ok(Some(*notice));
        }
        Ok(connection.prepare_cached(FIND)?.query_row([feed, key], |row| row.get(0)).optional()?)
    }

    /// Adds the key of a notice that was stored just now.
    pub(super) fn add(&mut self, feed: &str, key: &str, notice: i64) {
        name(&mut self.scratch, feed, key);
        self.young.insert(self.scratch.as_slice().into(), notice);
        self.seen = notice;
    }

    /// Files some keys, after `added` were added.
    pub(super) fn file(&mut self, connection: &Connection, added: usize) -> Result<(), Fault> {
        if self.old.is_empty() {
            if self.young.len() <= self.max {
                return Ok(());
            }
            self.old = std::mem::take(&mut self.young);
            self.old_upto = self.seen;
        }
        let mut insert = connection.prepare_cached(FILE)?;
        for (named, notice) in std::iter::from_fn(|| self.old.pop_first()).take(FILED_FOR_EACH * added) {
            let (feed, key) = parts(&named)?;
            insert.execute(params![feed, key, notice])?;
        }
        if self.old.is_empty() {
            set_upto(connection, self.old_upto)?;
            self.upto = self.old_upto;
        }
        Ok(())
    }
}

fn name(scratch: &mut Vec<u8>, feed: &str, key: &str) {
    scratch.clear();
    scratch.extend_from_slice(feed.as_bytes());
    scratch.push(0);
    scratch.extend_from_slice(key.as_bytes());
}

fn parts(named: &[u8]) -> Result<(&str, &str), Fault> {
    let text = std::str::from_utf8(named).ok().and_then(|text| text.split_once('\0'));
    text.ok_or_else(|| Fault::Strange("a key that waits has no feed; please report it".to_owned()))
}

fn upto(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.prepare_cached("SELECT upto FROM keys_filed WHERE one = 1")?.query_row([], |row| row.get(0))?)
}

fn set_upto(connection: &Connection, upto: i64) -> Result<(), Fault> {
    connection.prepare_cached("UPDATE keys_filed SET upto = ?1")?.execute([upto])?;
    Ok(())
}

/// Files the keys of the oldest notices that wait, and tells whether there may be more.
pub(super) fn file_all(connection: &Connection) -> Result<Outcome<bool>, Fault> {
    let from = upto(connection)?;
    let last = connection
        .prepare_cached("SELECT max(id) FROM notices")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))?
        .unwrap_or(0);
    if last <= from {
        return Ok(Outcome::quiet(false));
    }
    let to = last.min(from + NOTICES_A_STEP);
    connection.prepare_cached(FILE_ALL)?.execute([from, to])?;
    set_upto(connection, to)?;
    Ok(Outcome::quiet(to < last))
}

/// Takes out the keys of notices that are about to go, all of which are filed.
pub(super) fn take_out(connection: &Connection, notices: &[i64]) -> Result<(), Fault> {
    let mut delete = connection.prepare_cached(TAKE_OUT)?;
    for notice in notices {
        delete.execute([notice])?;
    }
    Ok(())
}

/// Notices that would not be known if they came again, and keys without a notice; reads all of them.
pub(super) fn damage(connection: &Connection, limit: i64) -> Result<Vec<String>, Fault> {
    let mut select = connection.prepare(
        "SELECT 'notice ' || n.id || ' is not known by its key: what announced it would be taken in again' \
         FROM notices n WHERE n.id <= (SELECT upto FROM keys_filed WHERE one = 1) AND NOT EXISTS \
           (SELECT 1 FROM keys k WHERE k.feed = n.feed AND k.dedupe_key = n.dedupe_key AND k.notice = n.id) \
         UNION ALL \
         SELECT 'the key ' || k.dedupe_key || ' of feed ' || k.feed || ' belongs to notice ' || k.notice || ', which is not there' \
         FROM keys k WHERE NOT EXISTS (SELECT 1 FROM notices n WHERE n.id = k.notice) LIMIT ?1",
    )?;
    Ok(select.query_map([limit], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// The keys of one feed, for whoever does not write. All of it is of one snapshot.
pub(super) struct Keys<'a> {
    connection: &'a Connection,
    feed: &'a str,
    waiting: BTreeMap<String, i64>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(connection: &'a Connection, feed: &'a FeedName) -> Result<Self, Fault> {
        let feed = feed.as_str();
        let mut select = connection.prepare_cached(WAITING)?;
        let waiting = select.query_map([feed], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        Ok(Self { connection, feed, waiting })
    }

    /// The notice under a key.
    pub(super) fn find(&self, key: &str) -> Result<Option<i64>, Fault> {
        if let Some(notice) = self.waiting.get(key) {
            return Ok(Some(*notice));
        }
        Ok(self.connection.prepare_cached(FIND)?.query_row([self.feed, key], |row| row.get(0)).optional()?)
    }

    /// The keys that begin with `prefix`, in their order, and their notices.
    pub(super) fn under(&self, prefix: &str) -> Result<BTreeMap<String, i64>, Fault> {
        let mut select = self.connection.prepare_cached(UNDER)?;
        // No key goes on with the last of all characters.
        let end = format!("{prefix}{}", char::MAX);
        let filed = select.query_map([self.feed, prefix, &end], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut under: BTreeMap<_, _> = filed.collect::<Result<_, _>>()?;
        let waiting = self.waiting.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        under.extend(waiting.map(|(key, notice)| (key.clone(), *notice)));
        Ok(under)
    }
}
