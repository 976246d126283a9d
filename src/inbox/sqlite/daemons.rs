//! What the daemons say of themselves. Written often and of no lasting worth: it needs no fsync.

use rusqlite::{Connection, params};

use super::fault::Fault;
use super::rows::word;
use super::times;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::ledger::{ALIVE_FOR, DaemonReport, DaemonSummary};
use crate::ops::health::{Condition, Part};
use crate::steady::Reading;

pub(super) fn report(connection: &Connection, report: &DaemonReport, time: Reading) -> Result<Outcome<()>, Fault> {
    let now = time.at;
    times::keep(connection, time)?;
    // One that was killed could not take itself down; its successor does, so that only the living are shown.
    connection
        .prepare_cached("DELETE FROM daemons WHERE mode = ?1 AND instance != ?2 AND heartbeat < ?3")?
        .execute(params![report.mode, report.instance, now.minus(ALIVE_FOR).0])?;
    connection
        .prepare_cached(
            "INSERT INTO daemons (instance, mode, pid, version, started, heartbeat) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (instance) DO UPDATE SET mode = excluded.mode, pid = excluded.pid, \
             version = excluded.version, started = excluded.started, heartbeat = excluded.heartbeat",
        )?
        .execute(params![report.instance, report.mode, report.pid, report.version, report.started.0, now.0])?;
    connection.prepare_cached("DELETE FROM components WHERE instance = ?1")?.execute([&report.instance])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO components (instance, name, condition, note, since) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (instance, name) DO NOTHING",
    )?;
    for part in &report.parts {
        let (condition, note) = match &part.condition {
            Condition::Good { note } => ("good", note.as_str()),
            Condition::Starting => ("starting", ""),
            Condition::Degraded { reason } => ("degraded", reason.as_str()),
        };
        let note = super::rows::bounded(note);
        insert.execute(params![report.instance, part.name, condition, note, part.since.0])?;
    }
    Ok(Outcome::quiet(()))
}

pub(super) fn leave(connection: &Connection, instance: &str) -> Result<Outcome<()>, Fault> {
    connection.prepare_cached("DELETE FROM daemons WHERE instance = ?1")?.execute([instance])?;
    Ok(Outcome::quiet(()))
}

pub(super) fn all(connection: &Connection, now: UnixMs) -> Result<Vec<DaemonSummary>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT instance, mode, pid, version, started, heartbeat FROM daemons ORDER BY started, instance",
    )?;
    let mut rows = select.query([])?;
    let mut daemons = Vec::new();
    while let Some(row) = rows.next()? {
        let instance: String = row.get(0)?;
        let heartbeat = UnixMs(row.get(5)?);
        daemons.push(DaemonSummary {
            parts: parts(connection, &instance)?,
            instance,
            mode: row.get(1)?,
            pid: row.get(2)?,
            version: row.get(3)?,
            started: UnixMs(row.get(4)?),
            heartbeat,
            alive: now.since(heartbeat) <= ALIVE_FOR,
        });
    }
    Ok(daemons)
}

fn parts(connection: &Connection, instance: &str) -> Result<Vec<Part>, Fault> {
    let mut select = connection
        .prepare_cached("SELECT name, since, note, condition FROM components WHERE instance = ?1 ORDER BY name")?;
    let mut rows = select.query([instance])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        let note: String = row.get(2)?;
        let condition = word(row, 3, |word| match word {
            "good" => Some(Condition::Good { note: note.clone() }),
            "starting" => Some(Condition::Starting),
            "degraded" => Some(Condition::Degraded { reason: note.clone() }),
            _ => None,
        })?;
        parts.push(Part { name: row.get(0)?, condition, since: UnixMs(row.get(1)?) });
    }
    Ok(parts)
}
