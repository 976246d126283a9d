//! Everything that there is to do beside the deliveries, a step at a time.

use rusqlite::Connection;

use super::bounds::parked_now;
use super::{expire, settle, wake};
use crate::clock::UnixMs;
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::writer::Outcome;
use crate::inbox::{ParkingBounds, Tended};

/// Whether parking has work that no deadline is needed for.
pub(in crate::inbox::sqlite) const HAS_WORK: &str = "EXISTS (SELECT 1 FROM chores) OR EXISTS (SELECT 1 FROM wakes)";

/// The next deadline.
pub(in crate::inbox::sqlite) const NEXT_DEADLINE: &str = "SELECT min(deadline) FROM parked WHERE state = 'waiting'";

/// Whether a step of [`tend`] would find anything to do, and when the next deadline comes; read beside the writer.
pub(in crate::inbox::sqlite) fn look_for_work(
    connection: &Connection,
    bounds: ParkingBounds,
    now: UnixMs,
) -> Result<(bool, Option<UnixMs>), Fault> {
    let has_work: bool = connection.prepare_cached(&format!("SELECT {HAS_WORK}"))?.query_row([], |row| row.get(0))?;
    let next: Option<i64> = connection.prepare_cached(NEXT_DEADLINE)?.query_row([], |row| row.get(0))?;
    let (rows, bytes) = parked_now(connection)?;
    // Without one in force, nothing can be let go: the bound is then for `park`.
    let is_crowded = next.is_some() && !bounds.soft().holds(rows, bytes);
    Ok((has_work || is_crowded || next.is_some_and(|next| next <= now.0), next.map(UnixMs)))
}

/// One step of everything that there is to do.
pub(in crate::inbox::sqlite) fn tend(
    connection: &Connection,
    bounds: ParkingBounds,
    now: UnixMs,
) -> Result<Outcome<Tended>, Fault> {
    let mut tended = Tended::default();
    settle::step(connection, now, &mut tended)?;
    wake::step(connection, now, &mut tended)?;
    expire::deadlines(connection, now, &mut tended)?;
    expire::crowd(connection, bounds, now, &mut tended)?;
    (tended.more, tended.next_deadline) = look_for_work(connection, bounds, now)?;
    // Also without a woken notice: who works until nothing is left waits for the last step.
    Ok(Outcome::woken(tended))
}
