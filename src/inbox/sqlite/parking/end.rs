//! What parking has to do with the beginning, the end and the replacement of a delivery.

use rusqlite::{Connection, OptionalExtension, params};

use super::park::has_leftovers;
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::{RunId, Woken};
use crate::notice::NoticeId;

/// What a claim on a woken notice says besides; `None` for any other notice.
pub(in crate::inbox::sqlite) fn claimed(connection: &Connection, delivery: i64) -> Result<Option<Woken>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT n.woken_from, w.delivery IS NULL, coalesce(w.released, 1) FROM deliveries d \
         JOIN notices n ON n.id = d.notice LEFT JOIN woken w ON w.notice = n.id WHERE d.id = ?1 \
         AND n.woken_from IS NOT NULL",
    )?;
    let woken = select
        .query_row([delivery], |row| {
            Ok(Woken { origin: NoticeId(row.get(0)?), is_replaced: row.get(1)?, is_released: row.get(2)? })
        })
        .optional()?;
    Ok(woken)
}

/// A delivery is done: what it decided and staged is to be seen to.
pub(in crate::inbox::sqlite) fn ended(connection: &Connection, delivery: i64) -> Result<(), Fault> {
    if has_leftovers(connection, delivery)? { add_chore(connection, delivery) } else { Ok(()) }
}

pub(super) fn add_chore(connection: &Connection, delivery: i64) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT INTO chores (delivery) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([delivery])?;
    Ok(())
}

/// What a replay makes of a notice, as far as parking is concerned.
pub(in crate::inbox::sqlite) enum Replayed {
    /// It is for the planner.
    Ordinary,
    /// It was woken, and its delivery is made.
    Woken,
    /// It was woken, and the replay goes to other routes.
    Elsewhere,
}

/// Deliveries of a notice have been replaced: their parked records are to go, and those that are on their way are left
/// out.
pub(in crate::inbox::sqlite) fn replaced(connection: &Connection, notice: NoticeId) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO chores (delivery) SELECT d.id FROM deliveries d \
             WHERE d.notice = ?1 AND d.replaced_by IS NOT NULL AND (EXISTS (SELECT 1 FROM parked p WHERE p.delivery = d.id) \
                  OR EXISTS (SELECT 1 FROM staged_keys s WHERE s.delivery = d.id)) ON CONFLICT DO NOTHING",
        )?
        .execute([notice.0])?;
    connection
        .prepare_cached(
            "UPDATE woken SET delivery = NULL WHERE delivery IN \
             (SELECT id FROM deliveries WHERE notice = ?1 AND replaced_by IS NOT NULL)",
        )?
        .execute([notice.0])?;
    Ok(())
}

/// Whether it was made of woken records.
pub(in crate::inbox::sqlite) fn is_woken(connection: &Connection, notice: NoticeId) -> Result<bool, Fault> {
    let mut select = connection.prepare_cached("SELECT 1 FROM notices WHERE id = ?1 AND woken_from IS NOT NULL")?;
    Ok(select.exists([notice.0])?)
}

/// As [`replaced`], by a replay. A woken notice is planned here, to where it goes.
pub(in crate::inbox::sqlite) fn replayed(
    connection: &Connection,
    notice: NoticeId,
    run: RunId,
) -> Result<Replayed, Fault> {
    replaced(connection, notice)?;
    if !is_woken(connection, notice)? {
        return Ok(Replayed::Ordinary);
    }
    let planned = connection
        .prepare_cached(
            "INSERT INTO deliveries (notice, run, lane, published, sequence, state, since) \
             SELECT n.id, r.id, l.id, n.published, n.sequence, 'ready', r.started FROM notices n \
             JOIN woken w ON w.notice = n.id JOIN lanes l ON l.id = w.lane JOIN runs r ON r.id = ?2 WHERE n.id = ?1 \
             AND (r.routes IS NULL OR EXISTS (SELECT 1 FROM json_each(r.routes) WHERE value = l.route))",
        )?
        .execute(params![notice.0, run.0])?;
    if planned == 0 {
        return Ok(Replayed::Elsewhere);
    }
    connection.prepare_cached("UPDATE notices SET state = 'open' WHERE id = ?1")?.execute([notice.0])?;
    Ok(Replayed::Woken)
}
