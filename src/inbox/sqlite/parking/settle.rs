//! What an ended delivery decided and staged comes into force, a piece at a time.

use rusqlite::{Connection, OptionalExtension, params};

use super::bounds::{BYTES_A_STEP, RECORDS_A_STEP};
use super::follow::Moves;
use super::known::{drop_staged, promote};
use super::park::drop_parked;
use super::record::{Parked, is_satisfied, select};
use super::wake::make_notices;
use crate::clock::UnixMs;
use crate::inbox::Tended;
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::rows::int;

/// What is known of a delivery whose leftovers are seen to.
struct Ended {
    is_done: bool,
    is_replaced: bool,
    is_woken: bool,
    confirmed: i64,
}

/// One step for one delivery.
pub(super) fn step(connection: &Connection, now: UnixMs, tended: &mut Tended) -> Result<(), Fault> {
    let chore: Option<i64> = connection
        .prepare_cached("SELECT delivery FROM chores ORDER BY delivery LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(delivery) = chore else {
        return Ok(());
    };
    let ended = connection
        .prepare_cached(
            "SELECT d.state = 'done', d.replaced_by IS NOT NULL, n.woken_from IS NOT NULL, d.confirmed \
             FROM deliveries d JOIN notices n ON n.id = d.notice WHERE d.id = ?1",
        )?
        .query_row([delivery], |row| {
            Ok(Ended { is_done: row.get(0)?, is_replaced: row.get(1)?, is_woken: row.get(2)?, confirmed: row.get(3)? })
        })
        .optional()?;
    // A delivery that is gone was pruned, and so it was done.
    let ended = ended.unwrap_or(Ended { is_done: true, is_replaced: true, is_woken: false, confirmed: 0 });
    // First the parents, then the children that may be theirs.
    let staged = match &ended {
        Ended { is_done: true, .. } => promote(connection, delivery, RECORDS_A_STEP)?,
        Ended { is_replaced: true, .. } => drop_staged(connection, delivery, RECORDS_A_STEP)?,
        // It goes on by itself, or by a release.
        _ => 0,
    };
    if staged > 0 {
        return Ok(());
    }
    let seen_to = if ended.is_replaced {
        drop_replaced(connection, delivery)?
    } else if !ended.is_done {
        0
    } else {
        // A woken notice has handed its decisions over.
        let confirmed = if ended.is_woken { 0 } else { ended.confirmed };
        match drop_parked(connection, delivery, confirmed)? {
            0 => into_force(connection, delivery, now, tended)?,
            dropped => dropped,
        }
    };
    if seen_to == 0 {
        connection.prepare_cached("DELETE FROM chores WHERE delivery = ?1")?.execute([delivery])?;
    }
    Ok(())
}

fn drop_replaced(connection: &Connection, delivery: i64) -> Result<usize, Fault> {
    let records = select(connection, "p.delivery = ?1", [delivery], RECORDS_A_STEP, usize::MAX)?;
    for record in &records {
        record.remove(connection)?;
    }
    Ok(records.len())
}

fn into_force(connection: &Connection, delivery: i64, now: UnixMs, tended: &mut Tended) -> Result<usize, Fault> {
    let refused = connection
        .prepare_cached(
            "DELETE FROM parked WHERE id IN \
             (SELECT id FROM parked WHERE delivery = ?1 AND state = 'refused' ORDER BY number LIMIT ?2)",
        )?
        .execute(params![delivery, int(RECORDS_A_STEP as u64)])?;
    let condition = "p.delivery = ?1 AND p.state = 'decided' ORDER BY p.number";
    let records = select(connection, condition, [delivery], RECORDS_A_STEP, BYTES_A_STEP)?;
    let seen_to = refused + records.len();
    let mut moves = Moves::default();
    let mut awake = Vec::new();
    for record in records {
        if is_satisfied(connection, &record.references)? {
            awake.push(record);
        } else if is_outdated(connection, &record, &mut moves, tended)? {
            record.remove(connection)?;
            moves.of(record.delivery).filtered += 1;
            tended.replaced += 1;
        } else {
            record.wait(connection)?;
        }
    }
    make_notices(connection, awake, false, now, tended)?;
    moves.store(connection)?;
    Ok(seen_to)
}

/// Whether a newer record about the same entity waits already; older ones are taken out, since this one takes their
/// place. They count as filtered: nothing of them is missing at the sink once the newer one is there.
fn is_outdated(
    connection: &Connection,
    record: &Parked,
    moves: &mut Moves,
    tended: &mut Tended,
) -> Result<bool, Fault> {
    let Some((scope, key)) = record.own else {
        return Ok(false);
    };
    let condition = "p.lane = ?1 AND p.own_scope = ?2 AND p.own_key = ?3 AND p.own_key IS NOT NULL \
         AND p.state = 'waiting' ORDER BY p.id";
    let others = select(connection, condition, params![record.lane, scope, key.0], RECORDS_A_STEP, usize::MAX)?;
    let mut is_outdated = false;
    for other in others {
        if other.is_replaced {
            other.remove(connection)?;
        } else if other.order() < record.order() {
            other.remove(connection)?;
            moves.of(other.delivery).filtered += 1;
            tended.replaced += 1;
        } else {
            is_outdated = true;
        }
    }
    Ok(is_outdated)
}
