//! A parked record and its references, as they are stored.

use rusqlite::{Connection, Row, params};

use super::known::is_known;
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::rows::word;
use crate::inbox::{AtDeadline, EntityKey};

/// Stands for a deadline that a record never had; when it is parked, it gets that of its route.
pub(super) const NO_DEADLINE: i64 = i64::MAX;

/// A missing parent: the entity at the sink, and its keys, any of which will do.
pub(super) struct Missing {
    pub(super) scope: i64,
    pub(super) keys: Vec<EntityKey>,
}

/// References as bytes: for each its scope (8 bytes), the number of keys (4), and the keys (16 each).
pub(super) fn encode(references: &[Missing]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(references.iter().map(|one| 12 + 16 * one.keys.len()).sum());
    for Missing { scope, keys } in references {
        bytes.extend_from_slice(&scope.to_le_bytes());
        bytes.extend_from_slice(&(keys.len() as u32).to_le_bytes());
        for key in keys {
            bytes.extend_from_slice(&key.0);
        }
    }
    bytes
}

/// What [`encode`] wrote.
pub(super) fn decode(mut bytes: &[u8]) -> Result<Vec<Missing>, Fault> {
    let strange = || Fault::Strange("the references of a parked record cannot be read".to_owned());
    let mut references = Vec::new();
    while !bytes.is_empty() {
        let (scope, rest) = bytes.split_first_chunk().ok_or_else(strange)?;
        let (count, rest) = rest.split_first_chunk().ok_or_else(strange)?;
        let length = 16 * u32::from_le_bytes(*count) as usize;
        let (keys, rest) = rest.split_at_checked(length).ok_or_else(strange)?;
        let keys = keys.as_chunks().0.iter().map(|key| EntityKey(*key)).collect();
        references.push(Missing { scope: i64::from_le_bytes(*scope), keys });
        bytes = rest;
    }
    Ok(references)
}

/// Whether every one of these parents is known by one of its keys.
pub(super) fn is_satisfied(connection: &Connection, references: &[Missing]) -> Result<bool, Fault> {
    for Missing { scope, keys } in references {
        let mut found = false;
        for key in keys {
            found = is_known(connection, *scope, *key)?;
            if found {
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A parked record without its body.
pub(super) struct Parked {
    pub(super) id: i64,
    pub(super) delivery: i64,
    /// The notice of its delivery.
    pub(super) notice: i64,
    pub(super) number: i64,
    pub(super) position: i64,
    pub(super) lane: i64,
    pub(super) published: i64,
    pub(super) sequence: i64,
    pub(super) since: i64,
    pub(super) deadline: i64,
    pub(super) at_deadline: AtDeadline,
    pub(super) missing: String,
    pub(super) own: Option<(i64, EntityKey)>,
    pub(super) references: Vec<Missing>,
    pub(super) bytes: usize,
    pub(super) is_waiting: bool,
    /// Whether a replay has taken its delivery's place.
    pub(super) is_replaced: bool,
    /// Its own, where it is not its notice's.
    pub(super) blob_type: Option<String>,
}

/// The columns of a [`Parked`], for tables `p` and its delivery `d`.
pub(super) const COLUMNS: &str = "p.id, p.delivery, d.notice, p.number, p.position, p.lane, p.published, p.sequence, \
     p.since, p.deadline, p.at_deadline, p.missing, p.own_scope, p.own_key, p.refs, length(p.body), \
     p.state = 'waiting', d.replaced_by IS NOT NULL, p.blob_type";

impl Parked {
    /// Reads [`COLUMNS`].
    pub(super) fn read(row: &Row<'_>) -> Result<Self, Fault> {
        let own = match (row.get(12)?, row.get(13)?) {
            (Some(scope), Some(key)) => Some((scope, EntityKey(key))),
            _ => None,
        };
        Ok(Self {
            id: row.get(0)?,
            delivery: row.get(1)?,
            notice: row.get(2)?,
            number: row.get(3)?,
            position: row.get(4)?,
            lane: row.get(5)?,
            published: row.get(6)?,
            sequence: row.get(7)?,
            since: row.get(8)?,
            deadline: row.get(9)?,
            at_deadline: word(row, 10, AtDeadline::parse)?,
            missing: row.get(11)?,
            own,
            references: decode(row.get_ref(14)?.as_blob().map_err(rusqlite::Error::from)?)?,
            bytes: usize::try_from(row.get::<_, i64>(15)?).unwrap_or(0),
            is_waiting: row.get(16)?,
            is_replaced: row.get(17)?,
            blob_type: row.get(18)?,
        })
    }

    /// The record of that number, if it is still parked.
    pub(super) fn load(connection: &Connection, id: i64) -> Result<Option<Self>, Fault> {
        let mut select = connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM parked p JOIN deliveries d ON d.id = p.delivery WHERE p.id = ?1"
        ))?;
        let mut rows = select.query([id])?;
        rows.next()?.map(Self::read).transpose()
    }

    /// Where it stands in the order of waking.
    pub(super) fn order(&self) -> (i64, i64, i64, i64) {
        (self.published, self.sequence, self.notice, self.number)
    }

    pub(super) fn body(&self, connection: &Connection) -> Result<Vec<u8>, Fault> {
        Ok(connection
            .prepare_cached("SELECT body FROM parked WHERE id = ?1")?
            .query_row([self.id], |row| row.get(0))?)
    }

    /// Puts it in force: it waits from now on.
    pub(super) fn wait(&self, connection: &Connection) -> Result<(), Fault> {
        connection.prepare_cached("UPDATE parked SET state = 'waiting' WHERE id = ?1")?.execute([self.id])?;
        let mut insert = connection.prepare_cached(
            "INSERT INTO waits (scope, key, published, sequence, notice, number, parked) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?;
        self.each_wait(|scope, key| {
            insert.execute(params![scope, key.0, self.published, self.sequence, self.notice, self.number, self.id])?;
            Ok(())
        })
    }

    /// Takes it out of the parking.
    pub(super) fn remove(&self, connection: &Connection) -> Result<(), Fault> {
        if self.is_waiting {
            let mut delete = connection.prepare_cached(
                "DELETE FROM waits WHERE scope = ?1 AND key = ?2 AND published = ?3 AND sequence = ?4 AND notice = ?5 \
                 AND number = ?6 AND parked = ?7",
            )?;
            self.each_wait(|scope, key| {
                delete.execute(params![
                    scope,
                    key.0,
                    self.published,
                    self.sequence,
                    self.notice,
                    self.number,
                    self.id
                ])?;
                Ok(())
            })?;
        }
        connection.prepare_cached("DELETE FROM parked WHERE id = ?1")?.execute([self.id])?;
        Ok(())
    }

    fn each_wait(&self, mut each: impl FnMut(i64, EntityKey) -> Result<(), Fault>) -> Result<(), Fault> {
        for Missing { scope, keys } in &self.references {
            for key in keys {
                each(*scope, *key)?;
            }
        }
        Ok(())
    }
}

/// The parked records of these numbers, in a query on `p` and its delivery `d` with `condition`, whose order and limit
/// are part of it.
pub(super) fn select(
    connection: &Connection,
    condition: &str,
    values: impl rusqlite::Params,
    records_max: usize,
    bytes_max: usize,
) -> Result<Vec<Parked>, Fault> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM parked p JOIN deliveries d ON d.id = p.delivery WHERE {condition}"
    ))?;
    let mut rows = select.query(values)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let parked = Parked::read(row)?;
        bytes += parked.bytes;
        found.push(parked);
        if found.len() >= records_max || bytes >= bytes_max {
            break;
        }
    }
    Ok(found)
}
