//! Waking: parked records become notices that carry them.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, OptionalExtension, params};

use super::bounds::{BYTES_A_STEP, RECORDS_A_STEP};
use super::record::{Parked, is_satisfied};
use crate::clock::UnixMs;
use crate::inbox::Tended;
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::rows::int;

/// The content type of a woken notice's body.
const JSON_LINES: &str = "application/x-jsonlines";

/// Where a waiter stands: `(published, sequence, notice, number, parked)`.
type Place = (i64, i64, i64, i64, i64);

/// A key that became known, and how far its waiters have been looked at.
struct Wake {
    id: i64,
    scope: i64,
    key: [u8; 16],
    after: Place,
}

/// What one step has looked at so far.
#[derive(Default)]
struct Step {
    awake: Vec<Parked>,
    /// Those in `awake`: a record whose parents landed together is met under each of them.
    ids: HashSet<i64>,
    looked_at: usize,
    bytes: usize,
}

impl Step {
    fn has_room(&self) -> bool {
        self.looked_at < RECORDS_A_STEP && self.bytes < BYTES_A_STEP
    }
}

/// One step for the keys that became known first: for as many as fit, so that records of one notice that waited for many
/// parents travel together.
pub(super) fn step(connection: &Connection, now: UnixMs, tended: &mut Tended) -> Result<(), Fault> {
    let mut step = Step::default();
    while step.has_room() {
        let Some(wake) = first(connection)? else { break };
        look(connection, &wake, &mut step)?;
    }
    make_notices(connection, step.awake, false, now, tended)
}

/// The key that became known first.
fn first(connection: &Connection) -> Result<Option<Wake>, Fault> {
    Ok(connection
        .prepare_cached(
            "SELECT id, scope, key, published, sequence, notice, number, parked FROM wakes ORDER BY id LIMIT 1",
        )?
        .query_row([], |row| {
            Ok(Wake {
                id: row.get(0)?,
                scope: row.get(1)?,
                key: row.get(2)?,
                after: (row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?),
            })
        })
        .optional()?)
}

/// Looks at what waits for the key, as far as there is room; afterwards the key is done with, or its place is written down.
fn look(connection: &Connection, wake: &Wake, step: &mut Step) -> Result<(), Fault> {
    let limit = RECORDS_A_STEP - step.looked_at;
    // Also a key for which nothing waits any more takes its time.
    step.looked_at += 1;
    let (waiters, is_last) = waiters(connection, wake, limit)?;
    let mut after = None;
    for waiter in waiters {
        if step.bytes >= BYTES_A_STEP {
            break;
        }
        after = Some(waiter);
        step.looked_at += 1;
        match Parked::load(connection, waiter.4)? {
            None => forget(connection, wake, waiter)?,
            Some(record) if record.is_replaced => record.remove(connection)?,
            Some(record) if is_satisfied(connection, &record.references)? => {
                if step.ids.insert(waiter.4) {
                    step.bytes += record.bytes;
                    step.awake.push(record);
                }
            }
            // It lacks another parent, which will wake it.
            Some(_) => {}
        }
    }
    match after {
        Some((published, sequence, notice, number, parked)) if !is_last || step.bytes >= BYTES_A_STEP => {
            connection
                .prepare_cached(
                    "UPDATE wakes SET published = ?2, sequence = ?3, notice = ?4, number = ?5, parked = ?6 WHERE id = ?1",
                )?
                .execute(params![wake.id, published, sequence, notice, number, parked])?;
            // What comes after it has to wait: within a key the order of publishing holds across steps.
            step.looked_at = RECORDS_A_STEP;
        }
        _ => {
            connection.prepare_cached("DELETE FROM wakes WHERE id = ?1")?.execute([wake.id])?;
        }
    }
    Ok(())
}

/// The next waiters in published order, and whether they are the last.
fn waiters(connection: &Connection, wake: &Wake, limit: usize) -> Result<(Vec<Place>, bool), Fault> {
    let mut select = connection.prepare_cached(
        "SELECT published, sequence, notice, number, parked FROM waits WHERE scope = ?1 AND key = ?2 \
         AND (published, sequence, notice, number, parked) > (?3, ?4, ?5, ?6, ?7) \
         ORDER BY published, sequence, notice, number, parked LIMIT ?8",
    )?;
    let (published, sequence, notice, number, parked) = wake.after;
    let values = params![wake.scope, wake.key, published, sequence, notice, number, parked, int(limit as u64)];
    let found: Vec<_> = select
        .query_map(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
        .collect::<Result<_, _>>()?;
    let is_last = found.len() < limit;
    Ok((found, is_last))
}

/// Takes out what a record left behind that went with its pruned delivery.
fn forget(connection: &Connection, wake: &Wake, waiter: Place) -> Result<(), Fault> {
    let (published, sequence, notice, number, parked) = waiter;
    connection
        .prepare_cached(
            "DELETE FROM waits WHERE scope = ?1 AND key = ?2 AND published = ?3 AND sequence = ?4 AND notice = ?5 \
             AND number = ?6 AND parked = ?7",
        )?
        .execute(params![wake.scope, wake.key, published, sequence, notice, number, parked])?;
    Ok(())
}

/// Turns records into notices, one for each delivery that read some of them and each blob type of their own, or several
/// if they are many; takes them out of the parking.
pub(super) fn make_notices(
    connection: &Connection,
    records: Vec<Parked>,
    is_released: bool,
    now: UnixMs,
    tended: &mut Tended,
) -> Result<(), Fault> {
    // By the order of waking first, so that the notices are numbered in that order.
    let mut by_delivery: BTreeMap<_, Vec<Parked>> = BTreeMap::new();
    for record in records {
        let place = (record.published, record.sequence, record.notice, record.delivery, record.blob_type.clone());
        by_delivery.entry(place).or_default().push(record);
    }
    for mut group in by_delivery.into_values() {
        group.sort_by_key(|record| record.number);
        let mut rest = &group[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |record: &&Parked| {
                bytes += record.bytes + 1;
                bytes <= BYTES_A_STEP
            };
            let many = rest.iter().take_while(fits).count();
            let (first, others) = rest.split_at(many.max(1));
            make_notice(connection, first, is_released, now)?;
            tended.woken += first.len() as u64;
            tended.notices += 1;
            rest = others;
        }
    }
    Ok(())
}

fn make_notice(connection: &Connection, records: &[Parked], is_released: bool, now: UnixMs) -> Result<(), Fault> {
    let Some(first) = records.first() else {
        return Ok(());
    };
    let mut body = Vec::with_capacity(records.iter().map(|record| record.bytes + 1).sum());
    for record in records {
        body.extend_from_slice(&record.body(connection)?);
        body.push(b'\n');
    }
    // Named after what the source said, not after numbers of this inbox alone: sinks recognise a delivery by it, also
    // after the inbox was begun anew. The parked record's own number keeps it apart from the same record woken before,
    // whatever the clock says.
    let notice: i64 = connection
        .prepare_cached(
            "INSERT INTO notices (feed, dedupe_key, verdict, state, published, sequence, stored, last_seen, \
             delivery_count, blob_type, correlation_id, content_type, properties, body, woken_from) \
             SELECT n.feed, n.dedupe_key || '/woken/' || d.run || '/' || ?3 || '/' || ?4 || '.' || ?7, 'accepted', 'open', \
             n.published, n.sequence, ?4, ?4, 0, coalesce(?8, n.blob_type), n.correlation_id, ?5, n.properties, ?6, n.id \
             FROM notices n JOIN deliveries d ON d.notice = n.id WHERE n.id = ?1 AND d.id = ?2 RETURNING id",
        )?
        .query_row(
            params![
                first.notice,
                first.delivery,
                first.number,
                now.0,
                JSON_LINES,
                body,
                first.id,
                first.blob_type
            ],
            |row| row.get(0),
        )?;
    connection
        .prepare_cached(
            "INSERT INTO deliveries (notice, run, lane, published, sequence, state, since) \
             VALUES (?1, 0, ?2, ?3, ?4, 'ready', ?5)",
        )?
        .execute(params![notice, first.lane, first.published, first.sequence, now.0])?;
    connection
        .prepare_cached("INSERT INTO woken (notice, delivery, lane, released) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![notice, first.delivery, first.lane, is_released])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO woken_records (notice, number, origin_number, position, since, deadline) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (number, record) in (1_i64..).zip(records) {
        insert.execute(params![notice, number, record.number, record.position, record.since, record.deadline])?;
        record.remove(connection)?;
    }
    Ok(())
}
