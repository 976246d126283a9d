//! The numbers of entities at sinks, under which keys are known and waited for.

use rusqlite::{Connection, OptionalExtension};

use crate::inbox::sqlite::fault::Fault;

/// The number of an entity at a sink, if it has one.
pub(super) fn scope(connection: &Connection, sink: &str, entity: &str) -> Result<Option<i64>, Fault> {
    let mut select = connection.prepare_cached("SELECT id FROM scopes WHERE sink = ?1 AND entity = ?2")?;
    Ok(select.query_row([sink, entity], |row| row.get(0)).optional()?)
}

/// The number of an entity at a sink, made if it has none.
pub(super) fn scope_or_new(connection: &Connection, sink: &str, entity: &str) -> Result<i64, Fault> {
    if let Some(id) = scope(connection, sink, entity)? {
        return Ok(id);
    }
    let mut insert = connection.prepare_cached("INSERT INTO scopes (sink, entity) VALUES (?1, ?2) RETURNING id")?;
    Ok(insert.query_row([sink, entity], |row| row.get(0))?)
}
