//! Single records that were set aside and are released: they go the way of parked ones whose parent has landed, so that
//! the account of the delivery that read them follows them to their end.

use rusqlite::{Connection, params};

use super::follow::Moves;
use super::record::{NO_DEADLINE, Parked};
use super::wake::make_notices;
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::Tended;
use crate::inbox::ledger::Decided;
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::rows::{int, word};

/// Records by notice, delivery and number, all of one commit.
pub(in crate::inbox::sqlite) struct Release<'a> {
    connection: &'a Connection,
    now: UnixMs,
    /// Their parents are looked for, as the first time.
    ordinary: Vec<Parked>,
    /// They were set aside for want of a parent, and are let go without it.
    orphans: Vec<Parked>,
    moves: Moves,
}

impl<'a> Release<'a> {
    pub(in crate::inbox::sqlite) fn new(connection: &'a Connection, now: UnixMs) -> Self {
        Self { connection, now, ordinary: Vec::new(), orphans: Vec::new(), moves: Moves::default() }
    }

    /// Takes a record out of the quarantine, unless it cannot go alone; counts what became of it.
    pub(in crate::inbox::sqlite) fn take(
        &mut self,
        notice: i64,
        delivery: i64,
        number: u64,
        did: &mut Decided,
    ) -> Result<(), Fault> {
        let mut select = self.connection.prepare_cached(
            "SELECT b.class, b.readable AND NOT b.cut AND n.woken_from IS NULL, \
                        d.state = 'done' AND d.replaced_by IS NULL \
                 FROM bad_records b JOIN deliveries d ON d.id = b.delivery JOIN notices n ON n.id = d.notice \
                 WHERE b.delivery = ?1 AND b.number = ?2 AND d.notice = ?3 AND b.discarded IS NULL",
        )?;
        let mut rows = select.query((delivery, int(number), notice))?;
        // What has changed since it was listed is left alone.
        let Some(row) = rows.next()? else { return Ok(()) };
        match (row.get(1)?, row.get(2)?) {
            (_, false) => did.unsettled += 1,
            (false, true) => did.not_alone += 1,
            (true, true) => {
                let class = word(row, 0, Class::parse)?;
                let record = self.unpark(delivery, number)?;
                self.moves.of(delivery).quarantined -= 1;
                did.records += 1;
                if class == Class::MissingParent { self.orphans.push(record) } else { self.ordinary.push(record) }
            }
        }
        Ok(())
    }

    /// It is parked for the length of this commit: what is woken was parked.
    fn unpark(&self, delivery: i64, number: u64) -> Result<Parked, Fault> {
        let key = (delivery, int(number));
        // Left by the delivery that set it aside, until that is tended.
        self.connection
            .prepare_cached("DELETE FROM parked WHERE delivery = ?1 AND number = ?2 AND state = 'refused'")?
            .execute(key)?;
        let id = self
            .connection
            .prepare_cached(
                "INSERT INTO parked (delivery, number, position, state, lane, published, sequence, since, deadline, \
                 at_deadline, entity, missing, refs, body, blob_type) \
                 SELECT d.id, b.number, b.position, 'waiting', d.lane, d.published, d.sequence, ?3, ?4, 'quarantine', \
                 '', '', x'', b.bytes, b.blob_type FROM bad_records b JOIN deliveries d ON d.id = b.delivery \
                 WHERE b.delivery = ?1 AND b.number = ?2 RETURNING id",
            )?
            .query_row(params![delivery, int(number), self.now.0, NO_DEADLINE], |row| row.get(0))?;
        self.connection.prepare_cached("DELETE FROM bad_records WHERE delivery = ?1 AND number = ?2")?.execute(key)?;
        Parked::load(self.connection, id)?
            .ok_or_else(|| Fault::Strange(format!("record {number} of delivery {delivery} is gone")))
    }

    /// Sends them on.
    pub(in crate::inbox::sqlite) fn finish(self) -> Result<(), Fault> {
        let mut tended = Tended::default();
        make_notices(self.connection, self.ordinary, false, self.now, &mut tended)?;
        make_notices(self.connection, self.orphans, true, self.now, &mut tended)?;
        self.moves.store(self.connection)
    }
}
