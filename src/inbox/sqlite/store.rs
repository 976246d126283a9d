//! Storing what the feeds heard. This is the hot path: one prepared statement a notice, and no index that is not
//! needed to find duplicates or unfinished work.

use rusqlite::{Connection, params};

use super::fault::Fault;
use super::outlived;
use super::rows::bounded;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::EntityKey;
use crate::notice::{FeedName, HeardNotice, NoticeId, Verdict};

pub(super) const INSERT: &str = "INSERT INTO notices (feed, dedupe_key, verdict, state, reason, published, sequence, \
     stored, ended, last_seen, delivery_count, blob_type, correlation_id, uri, content_type, content_encoding, properties, \
     body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?8, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
     ON CONFLICT (feed, dedupe_key) DO NOTHING";

/// Stores a batch; for each notice its number, and whether it was there before (and may have been pruned since). `events`
/// is empty, or has the event of each notice where that is to be remembered.
pub(super) fn store(
    connection: &Connection,
    batch: &[HeardNotice],
    events: &[Option<EntityKey>],
    now: UnixMs,
) -> Result<Outcome<Vec<(NoticeId, bool)>>, Fault> {
    let mut insert = connection.prepare_cached(INSERT)?;
    let mut stored = Vec::with_capacity(batch.len());
    let mut woken = false;
    let mut scratch = Vec::new();
    let any_outlived = outlived::total(connection)? > 0;
    for heard in batch {
        if any_outlived && let Some(pruned) = outlived::seen_again(connection, heard, now, &mut scratch)? {
            stored.push((pruned, true));
            continue;
        }
        let (verdict, state, reason) = match &heard.verdict {
            Verdict::Accepted => ("accepted", "heard", None),
            Verdict::Skipped(reason) => ("skipped", "skipped", Some(bounded(reason))),
            Verdict::Unreadable(reason) => ("unreadable", "quarantined", Some(bounded(reason))),
        };
        let metadata = &heard.metadata;
        let is_new = insert.execute(params![
            heard.feed.as_str(),
            heard.dedupe_key,
            verdict,
            state,
            reason,
            heard.published.0,
            heard.sequence,
            now.0,
            (state != "heard").then_some(now.0),
            heard.delivery_count,
            metadata.blob_type,
            metadata.correlation_id,
            metadata.uri,
            metadata.content_type,
            metadata.content_encoding,
            metadata.properties.as_ref().map(ToString::to_string),
            heard.body.as_deref(),
        ])? == 1;
        if is_new {
            woken |= state == "heard";
            stored.push((NoticeId(connection.last_insert_rowid()), false));
        } else {
            stored.push((seen_again(connection, heard, now)?, true));
        }
    }
    let heard = batch.iter().zip(events).filter_map(|(heard, event)| Some((&heard.feed, (*event)?)));
    super::events::remember(connection, heard, now)?;
    Ok(Outcome { value: stored, woken })
}

fn seen_again(connection: &Connection, heard: &HeardNotice, now: UnixMs) -> Result<NoticeId, Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE notices SET seen_count = seen_count + 1, last_seen = ?3, delivery_count = max(delivery_count, ?4) \
         WHERE feed = ?1 AND dedupe_key = ?2 RETURNING id",
    )?;
    let id = update
        .query_row(params![heard.feed.as_str(), heard.dedupe_key, now.0, heard.delivery_count], |row| row.get(0))?;
    Ok(NoticeId(id))
}

/// For each prefix, whether a notice of the feed is kept under a key that begins with it. The index of keys answers.
pub(super) fn holds(connection: &Connection, feed: &FeedName, prefixes: &[String]) -> Result<Vec<bool>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM notices WHERE feed = ?1 AND dedupe_key >= ?2 AND dedupe_key < ?3)",
    )?;
    let mut held = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        // No key goes on with the last of all characters.
        let end = format!("{prefix}{}", char::MAX);
        held.push(select.query_row(params![feed.as_str(), prefix, end], |row| row.get(0))?);
    }
    Ok(held)
}

/// How many keys are told of one prefix.
const NEWEST_MAX: i64 = 16;

/// The keys that begin with each prefix, the latest published first.
pub(super) fn newest(
    connection: &Connection,
    feed: &FeedName,
    prefixes: &[String],
) -> Result<Vec<Vec<(String, UnixMs)>>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT dedupe_key, published FROM notices WHERE feed = ?1 AND dedupe_key >= ?2 AND dedupe_key < ?3 \
         ORDER BY published DESC, id DESC LIMIT ?4",
    )?;
    let mut all = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        let end = format!("{prefix}{}", char::MAX);
        let rows = select
            .query_map(params![feed.as_str(), prefix, end, NEWEST_MAX], |row| Ok((row.get(0)?, UnixMs(row.get(1)?))))?;
        all.push(rows.collect::<Result<_, _>>()?);
    }
    Ok(all)
}
