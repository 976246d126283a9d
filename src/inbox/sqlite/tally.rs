//! What was done in each hour.

use rusqlite::{Connection, params};

use super::fault::Fault;
use crate::clock::UnixMs;
use crate::inbox::ClaimKey;

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// The hour that a moment lies in, counted since 1970 UTC.
pub(super) fn hour(at: UnixMs) -> i64 {
    at.0.div_euclid(HOUR_MS)
}

/// Adds a delivery that is done to its hour.
pub(super) fn tally(connection: &Connection, key: ClaimKey, now: UnixMs) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO tallies (hour, route, deliveries, read, delivered, filtered, parked, quarantined, bytes) \
             SELECT ?2, l.route, 1, d.read, d.delivered, d.filtered, d.parked, d.quarantined, d.bytes \
             FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE d.id = ?1 \
             ON CONFLICT (hour, route) DO UPDATE SET deliveries = deliveries + 1, read = read + excluded.read, \
             delivered = delivered + excluded.delivered, filtered = filtered + excluded.filtered, \
             parked = parked + excluded.parked, quarantined = quarantined + excluded.quarantined, \
             bytes = bytes + excluded.bytes",
        )?
        .execute(params![key.delivery.0, hour(now)])?;
    Ok(())
}
