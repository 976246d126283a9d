//! Deciding about records whose parent is missing, while their delivery is claimed.

use rusqlite::{Connection, OptionalExtension, params};

use super::bounds::{RECORDS_A_STEP, parked_now};
use super::known::drop_staged;
use super::record::{Missing, encode, is_satisfied};
use super::scope::scope_or_new;
use crate::clock::UnixMs;
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::held::check_held;
use crate::inbox::sqlite::rows::{bounded, count, int, word};
use crate::inbox::sqlite::writer::Outcome;
use crate::inbox::{AtDeadline, ClaimKey, DeliveryId, Fate, Forget, Orphan, ParkRules, ParkingBounds};

/// Whether attempts of the delivery left anything that is not in force yet.
pub(in crate::inbox::sqlite) fn has_leftovers(connection: &Connection, delivery: i64) -> Result<bool, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM parked WHERE delivery = ?1) \
         OR EXISTS (SELECT 1 FROM staged_keys WHERE delivery = ?1)",
    )?;
    Ok(select.query_row([delivery], |row| row.get(0))?)
}

pub(in crate::inbox::sqlite) fn decided(
    connection: &Connection,
    delivery: DeliveryId,
    first: u64,
    last: u64,
) -> Result<Vec<(u64, Fate)>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT number, state FROM parked WHERE delivery = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number",
    )?;
    let mut rows = select.query(params![delivery.0, int(first), int(last)])?;
    let mut decided = Vec::new();
    while let Some(row) = rows.next()? {
        decided.push((count(row.get(0)?), word(row, 1, fate)?));
    }
    Ok(decided)
}

fn fate(state: &str) -> Option<Fate> {
    match state {
        "decided" | "waiting" => Some(Fate::Parked),
        "refused" => Some(Fate::Refused),
        _ => None,
    }
}

/// What is written with each record of a delivery.
struct Place {
    lane: i64,
    sink: String,
    published: i64,
    sequence: i64,
}

pub(in crate::inbox::sqlite) fn park(
    connection: &Connection,
    key: ClaimKey,
    rules: &ParkRules,
    orphans: &[Orphan],
    bounds: ParkingBounds,
    now: UnixMs,
) -> Result<Outcome<Vec<Fate>>, Fault> {
    check_held(connection, key)?;
    let place = connection
        .prepare_cached(
            "SELECT d.lane, l.sink, d.published, d.sequence FROM deliveries d JOIN lanes l ON l.id = d.lane \
             WHERE d.id = ?1",
        )?
        .query_row([key.delivery.0], |row| {
            Ok(Place { lane: row.get(0)?, sink: row.get(1)?, published: row.get(2)?, sequence: row.get(3)? })
        })?;
    let (mut rows, mut bytes) = parked_now(connection)?;
    let mut before = connection.prepare_cached("SELECT state FROM parked WHERE delivery = ?1 AND number = ?2")?;
    let mut fates = Vec::with_capacity(orphans.len());
    for orphan in orphans {
        let of_earlier_attempt = before
            .query_row(params![key.delivery.0, int(orphan.number)], |row| row.get::<_, String>(0))
            .optional()?
            .and_then(|state| fate(&state));
        if let Some(fate) = of_earlier_attempt {
            fates.push(fate);
            continue;
        }
        let mut references = Vec::with_capacity(orphan.missing.len());
        for reference in &orphan.missing {
            let scope = scope_or_new(connection, &place.sink, reference.entity.as_str())?;
            references.push(Missing { scope, keys: reference.keys.clone() });
        }
        if is_satisfied(connection, &references)? {
            fates.push(Fate::Deliverable);
            continue;
        }
        let size = orphan.body.len() as u64;
        let fate = match (rules.parks, bounds.holds(rows + 1, bytes + size)) {
            (true, true) => Fate::Parked,
            (true, false) if rules.at_deadline == AtDeadline::Deliver => Fate::Deliverable,
            _ => Fate::Refused,
        };
        fates.push(fate);
        if fate == Fate::Deliverable {
            continue;
        }
        insert(connection, key, rules, &place, orphan, &references, fate, now)?;
        if fate == Fate::Parked {
            (rows, bytes) = (rows + 1, bytes + size);
        }
    }
    Ok(Outcome::quiet(fates))
}

#[expect(clippy::too_many_arguments, reason = "one row's columns come from as many places")]
fn insert(
    connection: &Connection,
    key: ClaimKey,
    rules: &ParkRules,
    place: &Place,
    orphan: &Orphan,
    references: &[Missing],
    fate: Fate,
    now: UnixMs,
) -> Result<(), Fault> {
    let own = match &orphan.own {
        Some((entity, own)) if rules.latest_only => {
            Some((scope_or_new(connection, &place.sink, entity.as_str())?, own.0))
        }
        _ => None,
    };
    let is_parked = fate == Fate::Parked;
    connection
        .prepare_cached(
            "INSERT INTO parked (delivery, number, position, state, lane, published, sequence, since, deadline, \
             at_deadline, entity, missing, own_scope, own_key, refs, body, blob_type) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            key.delivery.0,
            int(orphan.number),
            int(orphan.offset),
            if is_parked { "decided" } else { "refused" },
            place.lane,
            place.published,
            place.sequence,
            now.0,
            now.plus(rules.park_for).0,
            rules.at_deadline.as_str(),
            orphan.missing.first().map_or("", |reference| reference.entity.as_str()),
            bounded(&orphan.says),
            own.map(|(scope, _)| scope),
            own.map(|(_, key)| key),
            encode(references),
            // What is refused is kept by its delivery among the bad records.
            if is_parked { &orphan.body[..] } else { &[] },
            orphan.blob_type,
        ])?;
    Ok(())
}

/// One bounded step of forgetting what earlier attempts left; returns whether there may be more.
pub(in crate::inbox::sqlite) fn forget_attempts(
    connection: &Connection,
    key: ClaimKey,
    what: &Forget,
) -> Result<Outcome<bool>, Fault> {
    check_held(connection, key)?;
    let delivery = key.delivery.0;
    let forgotten = match what {
        Forget::Staged => drop_staged(connection, delivery, RECORDS_A_STEP)?,
        Forget::All => drop_staged(connection, delivery, RECORDS_A_STEP)? + drop_parked(connection, delivery, 0)?,
        Forget::Records(numbers) => {
            let mut delete = connection.prepare_cached("DELETE FROM parked WHERE delivery = ?1 AND number = ?2")?;
            for number in numbers {
                delete.execute(params![delivery, int(*number)])?;
            }
            0
        }
    };
    Ok(Outcome::quiet(forgotten > 0))
}

/// Drops up to a step's worth of the records of a delivery that never came into force, from beyond `after` on.
pub(super) fn drop_parked(connection: &Connection, delivery: i64, after: i64) -> Result<usize, Fault> {
    let dropped = connection
        .prepare_cached(
            "DELETE FROM parked WHERE id IN (SELECT id FROM parked WHERE delivery = ?1 AND number > ?2 \
             AND state != 'waiting' ORDER BY number LIMIT ?3)",
        )?
        .execute(params![delivery, after, int(RECORDS_A_STEP as u64)])?;
    Ok(dropped)
}
