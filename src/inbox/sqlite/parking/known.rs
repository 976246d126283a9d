//! The keys that sinks know.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::confirmed::{Confirmed, forgettings};
use super::scope::{scope, scope_or_new};
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::rows::int;
use crate::inbox::{ClaimKey, EntityChanges, EntityKey, Lookup, Remarks};
use crate::notice::SinkName;

/// Answers a whole batch of lookups, each in its place.
pub(in crate::inbox::sqlite) fn known(
    connection: &Connection,
    confirmed: &Confirmed,
    sink: &SinkName,
    lookups: &[Lookup],
) -> Result<Vec<Vec<bool>>, Fault> {
    let forgettings = forgettings(connection)?;
    let mut select = connection.prepare_cached("SELECT 1 FROM known_keys WHERE scope = ?1 AND key = ?2")?;
    let mut answers = Vec::with_capacity(lookups.len());
    for Lookup { entity, keys } in lookups {
        let mut answer = vec![false; keys.len()];
        if let Some(scope) = scope(connection, sink.as_str(), entity.as_str())? {
            let mut places: Vec<usize> = (0..keys.len()).collect();
            confirmed.answer(forgettings, scope, keys, &mut places, &mut answer);
            // In the order of the tree, each page is read once.
            places.sort_unstable_by_key(|&place| keys[place]);
            let mut last: Option<(EntityKey, bool)> = None;
            for &place in &places {
                let key = keys[place];
                let is_known = match last {
                    Some((same, is_known)) if same == key => is_known,
                    _ => select.exists(params![scope, key.0])?,
                };
                last = Some((key, is_known));
                answer[place] = is_known;
            }
            confirmed.add(forgettings, scope, places.iter().filter(|place| answer[**place]).map(|place| keys[*place]));
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// Looks keys up one at a time, within the writer's transaction.
pub(super) fn is_known(connection: &Connection, scope: i64, key: EntityKey) -> Result<bool, Fault> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM known_keys WHERE scope = ?1 AND key = ?2")?
        .exists(params![scope, key.0])?)
}

/// Registers keys and takes others away; returns whether anything waits for one of them.
pub(super) fn register(
    connection: &Connection,
    scope: i64,
    known: &[EntityKey],
    gone: &[EntityKey],
) -> Result<bool, Fault> {
    let mut wakes = false;
    let (mut added, mut removed) = (0, 0);
    if !known.is_empty() {
        let is_waited_for =
            connection.prepare_cached("SELECT 1 FROM waits WHERE scope = ?1 LIMIT 1")?.exists(params![scope])?;
        let mut insert =
            connection.prepare_cached("INSERT INTO known_keys (scope, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        let mut waits = connection.prepare_cached("SELECT 1 FROM waits WHERE scope = ?1 AND key = ?2 LIMIT 1")?;
        let mut wake = connection.prepare_cached(
            "INSERT INTO wakes (scope, key, published, sequence, notice, number, parked) \
             VALUES (?1, ?2, ?3, ?3, ?3, ?3, ?3)",
        )?;
        let mut sorted: Vec<_> = known.iter().map(|key| key.0).collect();
        sorted.sort_unstable();
        for key in sorted {
            if insert.execute(params![scope, key])? == 1 {
                added += 1;
                if is_waited_for && waits.exists(params![scope, key])? {
                    wake.execute(params![scope, key, i64::MIN])?;
                    wakes = true;
                }
            }
        }
    }
    let mut delete = connection.prepare_cached("DELETE FROM known_keys WHERE scope = ?1 AND key = ?2")?;
    for key in gone {
        removed += delete.execute(params![scope, key.0])?;
    }
    if added != removed {
        connection.prepare_cached("UPDATE scopes SET known = known + ?2 - ?3 WHERE id = ?1")?.execute(params![
            scope,
            int(added as u64),
            int(removed as u64)
        ])?;
    }
    Ok(wakes)
}

/// Writes down what confirmed records say of entities, or stages it where the sink only holds them. `sink` is asked
/// for once there is anything. Returns whether something is to be woken.
pub(in crate::inbox::sqlite) fn note(connection: &Connection, key: ClaimKey, remarks: &Remarks) -> Result<bool, Fault> {
    if remarks.entities.is_empty() {
        return Ok(false);
    }
    let sink: String = connection
        .prepare_cached("SELECT l.sink FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE d.id = ?1")?
        .query_row([key.delivery.0], |row| row.get(0))?;
    let mut wakes = false;
    for EntityChanges { entity, known, gone } in &remarks.entities {
        let scope = scope_or_new(connection, &sink, entity.as_str())?;
        if remarks.is_held {
            stage(connection, key, scope, known, gone)?;
        } else {
            wakes |= register(connection, scope, known, gone)?;
        }
    }
    Ok(wakes)
}

fn stage(
    connection: &Connection,
    key: ClaimKey,
    scope: i64,
    known: &[EntityKey],
    gone: &[EntityKey],
) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO staged_keys (delivery, scope, key, gone) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET gone = excluded.gone",
    )?;
    for (keys, is_gone) in [(known, false), (gone, true)] {
        for one in keys {
            insert.execute(params![key.delivery.0, scope, one.0, is_gone])?;
        }
    }
    Ok(())
}

/// Registers up to `limit` staged keys of a delivery that is done; returns how many that were, and whether something
/// is to be woken.
pub(super) fn promote(connection: &Connection, delivery: i64, limit: usize) -> Result<usize, Fault> {
    let mut select =
        connection.prepare_cached("SELECT scope, key, gone FROM staged_keys WHERE delivery = ?1 LIMIT ?2")?;
    let mut rows = select.query(params![delivery, int(limit as u64)])?;
    let mut staged: HashMap<i64, (Vec<EntityKey>, Vec<EntityKey>)> = HashMap::new();
    let mut taken = 0;
    while let Some(row) = rows.next()? {
        let (known, gone) = staged.entry(row.get(0)?).or_default();
        let list = if row.get(2)? { gone } else { known };
        list.push(EntityKey(row.get(1)?));
        taken += 1;
    }
    drop(rows);
    for (scope, (known, gone)) in staged {
        register(connection, scope, &known, &gone)?;
    }
    drop_staged(connection, delivery, limit)?;
    Ok(taken)
}

/// Drops up to `limit` staged keys of a delivery; returns how many that were.
pub(super) fn drop_staged(connection: &Connection, delivery: i64, limit: usize) -> Result<usize, Fault> {
    let dropped = connection
        .prepare_cached(
            "DELETE FROM staged_keys WHERE delivery = ?1 AND (scope, key) IN \
             (SELECT scope, key FROM staged_keys WHERE delivery = ?1 LIMIT ?2)",
        )?
        .execute(params![delivery, int(limit as u64)])?;
    Ok(dropped)
}
