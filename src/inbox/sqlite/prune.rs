//! Forgetting what is finished, in steps that each are one short commit.

use rusqlite::{Connection, params};

use super::fault::Fault;
use super::keys;
use super::outlived;
use super::rows::count;
use super::settled;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::ledger::Retention;

/// Notices removed in one commit. Other writes wait for it, so that it should take some milliseconds.
const NOTICES_A_STEP: i64 = 500;

/// Pages given back to the file system in one commit (4 MiB).
const PAGES_A_STEP: u32 = 1000;

/// Free pages that are kept for use: a tenth of the file, or 4 MiB.
const FREE_PAGES_KEPT_MIN: u64 = 1000;

/// How long the hourly tallies are kept: `longshore status` shows one day.
const TALLIES_KEPT_HOURS: i64 = 24 * 7;

/// What a step did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    pub(super) notices: u64,
    pub(super) bytes: u64,
    pub(super) is_last: bool,
    pub(super) too_large: bool,
}

/// Oldest first, so that what is left is always the latest. None goes before its key is filed.
pub(super) const OLDEST_ENDED: &str = "SELECT id FROM notices \
     WHERE (state = 'finished' OR state = 'skipped') AND withheld = 0 AND ended < ?1 \
     AND id <= (SELECT upto FROM keys_filed WHERE one = 1) ORDER BY ended LIMIT ?2";

pub(super) fn notices(connection: &Connection, policy: Retention, now: UnixMs) -> Result<Outcome<Step>, Fault> {
    let too_old = now.minus(policy.age).0;
    let keys_from = now.minus(policy.keys);
    let mut removed = remove(connection, too_old, keys_from)?;
    let too_large = |connection| -> Result<bool, Fault> {
        Ok(match policy.bytes {
            Some(bytes_max) => used_bytes(connection)? > bytes_max,
            None => false,
        })
    };
    if removed == 0 && too_large(connection)? {
        removed = remove(connection, i64::MAX, keys_from)?;
    }
    let is_last = removed == 0 && outlived::forget(connection, keys_from)? == 0;
    if is_last {
        let kept_from = super::tally::hour(now) - TALLIES_KEPT_HOURS;
        connection.prepare_cached("DELETE FROM tallies WHERE hour < ?1")?.execute([kept_from])?;
    }
    let too_large = too_large(connection)?;
    Ok(Outcome::quiet(Step { notices: removed, bytes: 0, is_last, too_large }))
}

fn remove(connection: &Connection, ended_before: i64, keys_from: UnixMs) -> Result<u64, Fault> {
    let mut select = connection.prepare_cached(OLDEST_ENDED)?;
    let ids: Vec<i64> =
        select.query_map(params![ended_before, NOTICES_A_STEP], |row| row.get(0))?.collect::<Result<_, _>>()?;
    outlived::keep(connection, &ids, keys_from)?;
    keys::take_out(connection, &ids)?;
    // Deliveries, attempts and bad records go with their notice.
    let mut delete = connection.prepare_cached("DELETE FROM notices WHERE id = ?1")?;
    for id in &ids {
        delete.execute([id])?;
    }
    let removed = ids.len() as u64;
    settled::forget(connection, ids)?;
    Ok(removed)
}

fn pages(connection: &Connection) -> Result<(u64, u64, u64), Fault> {
    let pragma =
        |name: &str| -> Result<u64, Fault> { Ok(count(connection.pragma_query_value(None, name, |row| row.get(0))?)) };
    Ok((pragma("page_count")?, pragma("freelist_count")?, pragma("page_size")?))
}

fn used_bytes(connection: &Connection) -> Result<u64, Fault> {
    let (all, free, size) = pages(connection)?;
    Ok(all.saturating_sub(free) * size)
}

/// Cuts free pages off the end of the file.
pub(super) fn shrink(connection: &Connection) -> Result<Outcome<Step>, Fault> {
    let (before, free, size) = pages(connection)?;
    if free <= FREE_PAGES_KEPT_MIN.max(before / 10) {
        return Ok(Outcome::quiet(Step { is_last: true, ..Step::default() }));
    }
    // The pragma frees one page with each row that is read of it.
    let mut vacuum = connection.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES_A_STEP})"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    let (after, ..) = pages(connection)?;
    let freed = before.saturating_sub(after);
    Ok(Outcome::quiet(Step { bytes: freed * size, is_last: freed == 0, ..Step::default() }))
}
