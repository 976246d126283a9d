//! How much one step takes, and how much is parked.

use rusqlite::Connection;

use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::rows::count;

/// Records that one step takes. More hold up the other writes longer; fewer make more notices of what waits for one
/// parent.
pub(super) const RECORDS_A_STEP: usize = 1_000;

/// Bytes of records that one step takes, and that a woken notice holds; one record may be larger.
pub(super) const BYTES_A_STEP: usize = 4 << 20;

/// What is parked: records and bytes.
pub(super) fn parked_now(connection: &Connection) -> Result<(u64, u64), Fault> {
    let mut select =
        connection.prepare_cached("SELECT coalesce(sum(records), 0), coalesce(sum(bytes), 0) FROM parking")?;
    Ok(select.query_row([], |row| Ok((count(row.get(0)?), count(row.get(1)?))))?)
}
