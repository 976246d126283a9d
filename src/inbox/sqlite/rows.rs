//! Between the rows of the database and the types of the contract.

use bytes::Bytes;
use rusqlite::Row;

use super::fault::Fault;
use crate::clock::UnixMs;
use crate::inbox::Progress;
use crate::notice::{FeedName, Metadata, Notice, NoticeId};
use crate::record::Counts;

/// Longest text of a reason or an error that is kept. Longer ones repeat themselves, and a story must fit a screen.
const TEXT_BYTES_MAX: usize = 4096;

/// A count as SQLite stores it. Beyond 2^63 it saturates, and the check of the account then refuses it.
pub(super) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as it was stored; the schema keeps it from being negative.
pub(super) fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// `text`, cut off at a bound.
pub(super) fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// The columns of a [`Notice`] without its body, for a table `n`.
pub(super) const NOTICE_COLUMNS: &str = "n.id, n.feed, n.dedupe_key, n.published, n.sequence, n.stored, \
     n.blob_type, n.correlation_id, n.uri, n.content_type, n.content_encoding, n.properties";

/// How many [`NOTICE_COLUMNS`] there are.
pub(super) const NOTICE_COLUMN_COUNT: usize = 12;

/// Reads [`NOTICE_COLUMNS`] from the start of a row.
pub(super) fn notice(row: &Row<'_>, body: Option<Bytes>) -> Result<Notice, Fault> {
    let id = NoticeId(row.get(0)?);
    let properties = match row.get_ref(11)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        None => None,
        Some(text) => Some(
            serde_json::from_str(text)
                .map_err(|error| Fault::Strange(format!("the properties of notice {id} are not JSON: {error}")))?,
        ),
    };
    Ok(Notice {
        id,
        feed: FeedName::new(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?),
        dedupe_key: row.get(2)?,
        published: UnixMs(row.get(3)?),
        sequence: row.get(4)?,
        stored: UnixMs(row.get(5)?),
        metadata: Metadata {
            blob_type: row.get(6)?,
            correlation_id: row.get(7)?,
            uri: row.get(8)?,
            content_type: row.get(9)?,
            content_encoding: row.get(10)?,
            properties,
        },
        body,
    })
}

/// The columns of a [`Progress`], for a table `d`.
pub(super) const PROGRESS_COLUMNS: &str =
    "d.confirmed, d.read, d.delivered, d.filtered, d.parked, d.quarantined, d.bytes, d.known";

/// Reads [`PROGRESS_COLUMNS`] from column `at` on.
pub(super) fn progress(row: &Row<'_>, at: usize) -> Result<Progress, rusqlite::Error> {
    let number = |offset: usize| row.get::<_, i64>(at + offset).map(count);
    Ok(Progress {
        confirmed: number(0)?,
        counts: Counts {
            read: number(1)?,
            delivered: number(2)?,
            filtered: number(3)?,
            parked: number(4)?,
            quarantined: number(5)?,
        },
        bytes: number(6)?,
        known: number(7)?,
    })
}

/// A word of a fixed set, as `parse` reads it.
pub(super) fn word<T>(row: &Row<'_>, column: usize, parse: impl Fn(&str) -> Option<T>) -> Result<T, Fault> {
    maybe_word(row, column, parse)?.ok_or_else(|| Fault::Strange("a state is missing".to_owned()))
}

/// As [`word`], where there may be none.
pub(super) fn maybe_word<T>(
    row: &Row<'_>,
    column: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Fault> {
    match row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)? {
        None => Ok(None),
        Some(text) => match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Fault::Strange(format!("it holds the unknown word {text:?}"))),
        },
    }
}
