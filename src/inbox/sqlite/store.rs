//! Storing what the feeds heard. This is the hot path: one prepared statement a notice, and no index that is not
//! needed to find duplicates or unfinished work.

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::keys::{Keys, Waiting};
use super::outlived;
use super::rows::bounded;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::EntityKey;
use crate::notice::{FeedName, HeardNotice, NoticeId, Verdict};

pub(super) const INSERT: &str = "INSERT INTO notices (feed, dedupe_key, verdict, state, reason, published, sequence, \
     stored, ended, last_seen, delivery_count, blob_type, correlation_id, uri, content_type, content_encoding, properties, \
     body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?8, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";

/// Stores a batch; for each notice its number, and whether it was there before (and may have been pruned since). `events`
/// is empty, or has the event of each notice where that is to be remembered.
pub(super) fn store(
    connection: &Connection,
    keys: &mut Waiting,
    batch: &[HeardNotice],
    events: &[Option<EntityKey>],
    now: UnixMs,
) -> Result<Outcome<Vec<(NoticeId, bool)>>, Fault> {
    keys.catch_up(connection)?;
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
        if let Some(notice) = keys.find(connection, heard.feed.as_str(), &heard.dedupe_key)?
            && seen_again(connection, notice, heard, now)?
        {
            stored.push((NoticeId(notice), true));
            continue;
        }
        let (verdict, state, reason) = match &heard.verdict {
            Verdict::Accepted => ("accepted", "heard", None),
            Verdict::Skipped(reason) => ("skipped", "skipped", Some(bounded(reason))),
            Verdict::Unreadable(reason) => ("unreadable", "quarantined", Some(bounded(reason))),
        };
        let metadata = &heard.metadata;
        insert.execute(params![
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
        ])?;
        let notice = connection.last_insert_rowid();
        keys.add(heard.feed.as_str(), &heard.dedupe_key, notice);
        woken |= state == "heard";
        stored.push((NoticeId(notice), false));
    }
    keys.file(connection, batch.len())?;
    let heard = batch.iter().zip(events).filter_map(|(heard, event)| Some((&heard.feed, (*event)?)));
    super::events::remember(connection, heard, now)?;
    Ok(Outcome { value: stored, woken })
}

/// Counts a notice that came again. Returns whether it is still there.
fn seen_again(connection: &Connection, notice: i64, heard: &HeardNotice, now: UnixMs) -> Result<bool, Fault> {
    let mut update = connection.prepare_cached(
        "UPDATE notices SET seen_count = seen_count + 1, last_seen = ?2, delivery_count = max(delivery_count, ?3) \
         WHERE id = ?1",
    )?;
    Ok(update.execute(params![notice, now.0, heard.delivery_count])? == 1)
}

/// For each prefix, whether a notice of the feed is kept under a key that begins with it.
pub(super) fn holds(connection: &Connection, feed: &FeedName, prefixes: &[String]) -> Result<Vec<bool>, Fault> {
    let keys = Keys::of(connection, feed)?;
    prefixes.iter().map(|prefix| Ok(!keys.under(prefix)?.is_empty())).collect()
}

/// How many keys are told of one prefix.
const NEWEST_MAX: usize = 16;

/// The keys that begin with each prefix, the latest published first.
pub(super) fn newest(
    connection: &Connection,
    feed: &FeedName,
    prefixes: &[String],
) -> Result<Vec<Vec<(String, UnixMs)>>, Fault> {
    let keys = Keys::of(connection, feed)?;
    let mut select = connection.prepare_cached("SELECT published FROM notices WHERE id = ?1")?;
    let mut all = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        let mut under = Vec::new();
        for (key, notice) in keys.under(prefix)? {
            let published: Option<i64> = select.query_row([notice], |row| row.get(0)).optional()?;
            under.extend(published.map(|published| (published, notice, key)));
        }
        under.sort_by_key(|(published, notice, _)| std::cmp::Reverse((*published, *notice)));
        under.truncate(NEWEST_MAX);
        all.push(under.into_iter().map(|(published, _, key)| (key, UnixMs(published))).collect());
    }
    Ok(all)
}
