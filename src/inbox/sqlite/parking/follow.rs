//! The account of the delivery that read a record follows it to its end.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::end::add_chore;
use super::record::NO_DEADLINE;
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::rows::{count, int};
use crate::inbox::sqlite::tally::hour;
use crate::inbox::{ClaimKey, DeliveryId, Progress};
use crate::notice::NoticeId;

/// What has become of parked records of one delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    pub(super) delivered: i64,
    pub(super) filtered: i64,
    pub(super) quarantined: i64,
}

/// By delivery.
#[derive(Default)]
pub(super) struct Moves(BTreeMap<i64, Moved>);

impl Moves {
    pub(super) fn of(&mut self, delivery: i64) -> &mut Moved {
        self.0.entry(delivery).or_default()
    }

    /// Writes them into the accounts.
    pub(super) fn store(self, connection: &Connection) -> Result<(), Fault> {
        for (delivery, moved) in self.0 {
            follow(connection, delivery, moved)?;
        }
        Ok(())
    }
}

/// The delivery has ended, so that nobody else writes its account.
fn follow(connection: &Connection, delivery: i64, moved: Moved) -> Result<(), Fault> {
    let Moved { delivered, filtered, quarantined } = moved;
    let all = delivered + filtered + quarantined;
    if all == 0 {
        return Ok(());
    }
    let (lane, state, ended): (i64, String, i64) = connection
        .prepare_cached(
            "UPDATE deliveries SET parked = parked - ?2, delivered = delivered + ?3, filtered = filtered + ?4, \
             quarantined = quarantined + ?5 WHERE id = ?1 RETURNING lane, state, ended",
        )?
        .query_row(params![delivery, all, delivered, filtered, quarantined], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    if state == "done" {
        // Where its hour was forgotten already, there is nothing to correct.
        connection
            .prepare_cached(
                "UPDATE tallies SET parked = parked - ?3, delivered = delivered + ?4, filtered = filtered + ?5, \
                 quarantined = quarantined + ?6 WHERE hour = ?1 AND route = (SELECT route FROM lanes WHERE id = ?2)",
            )?
            .execute(params![hour(UnixMs(ended)), lane, all, delivered, filtered, quarantined])?;
    }
    follow_withheld(connection, delivery)
}

/// The notice's withheld records are those of its deliveries.
fn follow_withheld(connection: &Connection, delivery: i64) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "UPDATE notices SET withheld = (SELECT coalesce(sum(parked + quarantined - discarded), 0) FROM deliveries \
             WHERE notice = notices.id AND replaced_by IS NULL) \
             WHERE id = (SELECT notice FROM deliveries WHERE id = ?1) AND ended IS NOT NULL",
        )?
        .execute([delivery])?;
    Ok(())
}

/// The delivery of a woken notice is done: its outcome goes into the account of the delivery that read the records,
/// which also takes over what was set aside and what is parked again. Does nothing for any other notice. Returns
/// whether it was a woken one.
pub(in crate::inbox::sqlite) fn finished(
    connection: &Connection,
    key: ClaimKey,
    progress: &Progress,
) -> Result<bool, Fault> {
    let woken: Option<(i64, Option<i64>)> = connection
        .prepare_cached(
            "SELECT w.notice, w.delivery FROM deliveries d JOIN woken w ON w.notice = d.notice WHERE d.id = ?1",
        )?
        .query_row([key.delivery.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((notice, origin)) = woken else {
        return Ok(false);
    };
    if let Some(origin) = origin {
        let records: i64 = connection
            .prepare_cached("SELECT count(*) FROM woken_records WHERE notice = ?1")?
            .query_row([notice], |row| row.get(0))?;
        if count(records) != progress.counts.read {
            return Err(Fault::Strange(format!(
                "woken notice {notice} has {records} records, and {} were read",
                progress.counts.read
            )));
        }
        let quarantined = take_over_bad(connection, key, notice, origin)?;
        let parked = take_over_parked(connection, key, notice, origin)?;
        let filtered = int(progress.counts.filtered);
        let delivered = records - filtered - quarantined - parked;
        follow(connection, origin, Moved { delivered, filtered, quarantined })?;
    }
    connection.prepare_cached("DELETE FROM woken WHERE notice = ?1")?.execute([notice])?;
    Ok(true)
}

fn take_over_bad(connection: &Connection, key: ClaimKey, notice: i64, origin: i64) -> Result<i64, Fault> {
    let taken = connection
        .prepare_cached(
            "INSERT INTO bad_records (delivery, number, position, class, reason, readable, cut, bytes, blob_type) \
             SELECT ?3, w.origin_number, w.position, b.class, b.reason, b.readable, b.cut, b.bytes, b.blob_type FROM bad_records b \
             JOIN woken_records w ON w.notice = ?2 AND w.number = b.number WHERE b.delivery = ?1",
        )?
        .execute(params![key.delivery.0, notice, origin])?;
    connection.prepare_cached("DELETE FROM bad_records WHERE delivery = ?1")?.execute([key.delivery.0])?;
    Ok(taken as i64)
}

/// What the woken notice's delivery decided goes back to the delivery that read it, with the time that it had.
fn take_over_parked(connection: &Connection, key: ClaimKey, notice: i64, origin: i64) -> Result<i64, Fault> {
    connection
        .prepare_cached("DELETE FROM parked WHERE delivery = ?1 AND state = 'refused'")?
        .execute([key.delivery.0])?;
    let taken = connection
        .prepare_cached(
            "UPDATE parked SET delivery = ?3, number = w.origin_number, position = w.position, \
             since = iif(w.deadline = ?4, parked.since, w.since), \
             deadline = iif(w.deadline = ?4, parked.deadline, w.deadline) FROM woken_records w \
             WHERE parked.delivery = ?1 AND w.notice = ?2 AND w.number = parked.number",
        )?
        .execute(params![key.delivery.0, notice, origin, NO_DEADLINE])?;
    if taken > 0 {
        add_chore(connection, origin)?;
    }
    Ok(taken as i64)
}

/// A person discarded a woken notice: its records are set aside where they were read, and wait for nobody. Does nothing
/// for any other notice.
pub(in crate::inbox::sqlite) fn discarded(connection: &Connection, notice: NoticeId, now: UnixMs) -> Result<(), Fault> {
    let origin: Option<i64> = connection
        .prepare_cached("SELECT delivery FROM woken WHERE notice = ?1")?
        .query_row([notice.0], |row| row.get(0))
        .optional()?
        .flatten();
    if let Some(origin) = origin {
        let records = connection
            .prepare_cached(
                "INSERT INTO bad_records (delivery, number, position, class, reason, readable, cut, discarded, bytes) \
                 SELECT ?2, origin_number, position, ?3, 'woken as notice ' || notice || ', and discarded with it', \
                 1, 1, ?4, x'' FROM woken_records WHERE notice = ?1",
            )?
            .execute(params![notice.0, origin, Class::MissingParent.as_str(), now.0])?;
        follow(connection, origin, Moved { quarantined: records as i64, ..Moved::default() })?;
        connection
            .prepare_cached("UPDATE deliveries SET discarded = discarded + ?2 WHERE id = ?1")?
            .execute(params![origin, records as i64])?;
        follow_withheld(connection, origin)?;
    }
    connection.prepare_cached("DELETE FROM woken WHERE notice = ?1")?.execute([notice.0])?;
    Ok(())
}

/// How many records of a delivery that is done are parked, or woken and on their way: what its account must say.
pub(in crate::inbox::sqlite) fn parked_of(connection: &Connection, delivery: DeliveryId) -> Result<u64, Fault> {
    let parked = connection
        .prepare_cached(
            "SELECT (SELECT count(*) FROM parked WHERE delivery = ?1 AND state != 'refused') \
             + (SELECT count(*) FROM woken w JOIN woken_records r ON r.notice = w.notice WHERE w.delivery = ?1)",
        )?
        .query_row([delivery.0], |row| row.get(0))?;
    Ok(count(parked))
}
