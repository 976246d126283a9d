//! Records that waited long enough, and those that are let go since too many wait.

use rusqlite::{Connection, params};

use super::bounds::{BYTES_A_STEP, RECORDS_A_STEP, parked_now};
use super::follow::Moves;
use super::record::{Parked, select};
use super::wake::make_notices;
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::rows::bounded;
use crate::inbox::{AtDeadline, ParkingBounds, Tended};

/// The records whose deadline has come.
pub(super) const DUE: &str = "p.state = 'waiting' AND p.deadline <= ?1 ORDER BY p.deadline";

/// The records that wait the longest.
pub(super) const OLDEST: &str = "p.state = 'waiting' ORDER BY p.since, p.id";

pub(super) fn deadlines(connection: &Connection, now: UnixMs, tended: &mut Tended) -> Result<(), Fault> {
    let due = select(connection, DUE, [now.0], RECORDS_A_STEP, BYTES_A_STEP)?;
    tended.expired += let_go(connection, due, "did not come in time", now, tended)?;
    Ok(())
}

pub(super) fn crowd(
    connection: &Connection,
    bounds: ParkingBounds,
    now: UnixMs,
    tended: &mut Tended,
) -> Result<(), Fault> {
    let soft = bounds.soft();
    let (mut rows, mut bytes) = parked_now(connection)?;
    if soft.holds(rows, bytes) {
        return Ok(());
    }
    let mut oldest = select(connection, OLDEST, [], RECORDS_A_STEP, BYTES_A_STEP)?;
    let too_many = oldest
        .iter()
        .take_while(|record| {
            let is_over = !soft.holds(rows, bytes);
            (rows, bytes) = (rows.saturating_sub(1), bytes.saturating_sub(record.bytes as u64));
            is_over
        })
        .count();
    oldest.truncate(too_many);
    let reason = "did not come before too much was parked (`rows_max` and `bytes_max` in [parking])";
    tended.crowded_out += let_go(connection, oldest, reason, now, tended)?;
    Ok(())
}

/// Does with each record what its route says for its deadline; returns how many there were.
fn let_go(
    connection: &Connection,
    records: Vec<Parked>,
    reason: &str,
    now: UnixMs,
    tended: &mut Tended,
) -> Result<u64, Fault> {
    let mut moves = Moves::default();
    let mut delivered = Vec::new();
    let mut many = 0;
    for record in records {
        if record.is_replaced {
            record.remove(connection)?;
            continue;
        }
        many += 1;
        match record.at_deadline {
            AtDeadline::Deliver => delivered.push(record),
            AtDeadline::Quarantine => {
                set_aside(connection, &record, reason)?;
                moves.of(record.delivery).quarantined += 1;
            }
        }
    }
    make_notices(connection, delivered, true, now, tended)?;
    moves.store(connection)?;
    Ok(many)
}

/// The whole record is kept, so that it can still be released.
fn set_aside(connection: &Connection, record: &Parked, reason: &str) -> Result<(), Fault> {
    let reason = format!("its parent {} {reason}", record.missing);
    connection
        .prepare_cached(
            "INSERT INTO bad_records (delivery, number, position, class, reason, readable, cut, bytes, blob_type) \
             SELECT delivery, number, position, ?2, ?3, 1, 0, body, blob_type FROM parked WHERE id = ?1",
        )?
        .execute(params![record.id, Class::MissingParent.as_str(), bounded(&reason)])?;
    record.remove(connection)
}
