//! How far a feed has come with its source, and what it has waiting.

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::notice::FeedName;

pub(super) fn mark(connection: &Connection, feed: &FeedName) -> Result<Option<String>, Fault> {
    let mut select = connection.prepare_cached("SELECT mark FROM marks WHERE feed = ?1")?;
    Ok(select.query_row([feed.as_str()], |row| row.get(0)).optional()?)
}

pub(super) fn set_mark(
    connection: &Connection,
    feed: &FeedName,
    mark: &str,
    now: UnixMs,
) -> Result<Outcome<()>, Fault> {
    let mut write = connection.prepare_cached(
        "INSERT INTO marks (feed, mark, at) VALUES (?1, ?2, ?3) \
         ON CONFLICT (feed) DO UPDATE SET mark = excluded.mark, at = excluded.at",
    )?;
    write.execute(params![feed.as_str(), mark, now.0])?;
    Ok(Outcome::quiet(()))
}

/// Looks through unfinished notices only: the index of these holds no others, and the `+` keeps SQLite from looking
/// through all notices of the feed instead.
pub(super) const OLDEST_UNFINISHED: &str = "SELECT min(published) FROM (     SELECT published FROM notices WHERE state = 'heard' AND +feed = ?1 UNION ALL \
     SELECT published FROM notices WHERE state = 'open' AND +feed = ?1)";

pub(super) fn oldest_unfinished(connection: &Connection, feed: &FeedName) -> Result<Option<UnixMs>, Fault> {
    let mut select = connection.prepare_cached(OLDEST_UNFINISHED)?;
    Ok(select.query_row([feed.as_str()], |row| row.get::<_, Option<i64>>(0))?.map(UnixMs))
}
