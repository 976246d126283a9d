//! What the steady clock showed, from one run to the next and from one process to another.

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use crate::clock::{BootId, UnixMs, Uptime};
use crate::steady::Reading;

pub(super) fn last(connection: &Connection) -> Result<Option<Reading>, Fault> {
    let mut select = connection.prepare_cached("SELECT at, boot, uptime FROM times")?;
    let reading = select.query_row([], |row| {
        let boot = BootId(u128::from_be_bytes(row.get(1)?));
        Ok(Reading { at: UnixMs(row.get(0)?), uptime: Uptime { boot, ms: row.get(2)? } })
    });
    Ok(reading.optional()?)
}

/// Written often, and of no lasting worth within one start of the machine: any reading of it tells the time.
pub(super) fn keep(connection: &Connection, reading: Reading) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO times (id, at, boot, uptime) VALUES (1, ?1, ?2, ?3)")?
        .execute(params![reading.at.0, reading.uptime.boot.0.to_be_bytes(), reading.uptime.ms])?;
    Ok(())
}
