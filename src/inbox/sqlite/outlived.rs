//! Dedupe keys that outlive their notices: what comes again under one of them is a duplicate, although the notice was
//! pruned to make room.
//!
//! A key comes here only when its notice goes before its time, so that storing costs one more look only once the inbox
//! has had to make room, and an inbox that never does has nothing here. Keys go by age alone.

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::rows::count;
use crate::clock::UnixMs;
use crate::inbox::parking::EntityKey;
use crate::notice::{HeardNotice, NoticeId};

/// Keys forgotten in one commit.
const KEYS_A_STEP: i64 = 2_000;

/// What a key takes on disk with its index, about: pages of hashes are two thirds full.
pub(super) const BYTES_A_KEY: u64 = 90;

/// The hash of entities serves: it takes parts with their lengths, and nobody finds two keys that meet.
fn hash(scratch: &mut Vec<u8>, feed: &str, dedupe_key: &str) -> [u8; 16] {
    EntityKey::of(scratch, feed, [dedupe_key]).0
}

/// How many keys there are.
pub(super) fn total(connection: &Connection) -> Result<u64, Fault> {
    Ok(count(connection.prepare_cached("SELECT keys FROM outlived_keys_count")?.query_row([], |row| row.get(0))?))
}

/// Keeps the keys of notices that are about to go and arrived after `seen_from`. Woken notices have none: nobody
/// sends them.
pub(super) fn keep(connection: &Connection, notices: &[i64], seen_from: UnixMs) -> Result<(), Fault> {
    let mut select = connection.prepare_cached(
        "SELECT feed, dedupe_key, last_seen FROM notices WHERE id = ?1 AND last_seen > ?2 AND woken_from IS NULL",
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO outlived_keys (key, notice, seen) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO NOTHING",
    )?;
    let (mut scratch, mut kept) = (Vec::new(), 0);
    for notice in notices {
        let found = select
            .query_row(params![notice, seen_from.0], |row| {
                let (feed, dedupe_key): (String, String) = (row.get(0)?, row.get(1)?);
                Ok((hash(&mut scratch, &feed, &dedupe_key), row.get::<_, i64>(2)?))
            })
            .optional()?;
        if let Some((key, seen)) = found {
            kept += insert.execute(params![key, notice, seen])?;
        }
    }
    add(connection, i64::try_from(kept).unwrap_or(i64::MAX))
}

/// The pruned notice that this is a duplicate of, if it is one; it counts as seen now.
pub(super) fn seen_again(
    connection: &Connection,
    heard: &HeardNotice,
    now: UnixMs,
    scratch: &mut Vec<u8>,
) -> Result<Option<NoticeId>, Fault> {
    let mut update =
        connection.prepare_cached("UPDATE outlived_keys SET seen = max(seen, ?2) WHERE key = ?1 RETURNING notice")?;
    let key = hash(scratch, heard.feed.as_str(), &heard.dedupe_key);
    Ok(update.query_row(params![key, now.0], |row| row.get(0).map(NoticeId)).optional()?)
}

/// Forgets keys that were last seen at `seen_from` or before, up to a number; how many.
pub(super) fn forget(connection: &Connection, seen_from: UnixMs) -> Result<u64, Fault> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM outlived_keys WHERE key IN (SELECT key FROM outlived_keys WHERE seen <= ?1 ORDER BY seen LIMIT ?2)",
    )?;
    let gone = delete.execute(params![seen_from.0, KEYS_A_STEP])?;
    add(connection, -i64::try_from(gone).unwrap_or(i64::MAX))?;
    Ok(gone as u64)
}

fn add(connection: &Connection, keys: i64) -> Result<(), Fault> {
    if keys != 0 {
        connection.prepare_cached("UPDATE outlived_keys_count SET keys = keys + ?1")?.execute([keys])?;
    }
    Ok(())
}
