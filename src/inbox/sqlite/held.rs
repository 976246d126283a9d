//! Whose claim a delivery is under: nothing is written under one that is not the delivery's any more.

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use crate::inbox::{ClaimKey, InboxError};

/// Refuses what was to be written, unless it was written to the one row that is under the claim.
pub(super) fn if_held(key: ClaimKey, written: usize) -> Result<(), Fault> {
    if written == 1 { Ok(()) } else { Err(Fault::Refused(InboxError::LeaseLost(key))) }
}

/// Refuses a claim that is not the delivery's any more.
pub(super) fn check_held(connection: &Connection, key: ClaimKey) -> Result<(), Fault> {
    let held: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM deliveries WHERE id = ?1 AND claim = ?2 AND state = 'claimed'")?
        .query_row(params![key.delivery.0, key.claim], |row| row.get(0))
        .optional()?;
    if_held(key, usize::from(held.is_some()))
}
