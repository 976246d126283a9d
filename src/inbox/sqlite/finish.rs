//! The writes under a claim. Each names the claim that it is made under, and does nothing if that claim is not the
//! delivery's any more.

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::held::{check_held, if_held};
use super::parking;
use super::plan::settle_state;
use super::rows::{bounded, int};
use super::tally::tally;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::{ClaimKey, Finish, InboxError, Progress, Remarks};
use crate::notice::NoticeId;
use crate::record::BadRecord;

/// Ended claims that are kept of a delivery. Waiting out a full disk uses up no attempt and may take thousands.
const ATTEMPTS_KEPT: i64 = 50;

/// How an attempt ended, for its history.
pub(super) enum Ended<'a> {
    Done,
    Retry(Class, &'a str),
    Quarantined(Class, &'a str),
    Released,
    Lost,
}

pub(super) fn renew(connection: &Connection, key: ClaimKey, until: UnixMs) -> Result<Outcome<()>, Fault> {
    let written = connection
        .prepare_cached("UPDATE deliveries SET lease_until = ?3 WHERE id = ?1 AND claim = ?2 AND state = 'claimed'")?
        .execute(params![key.delivery.0, key.claim, until.0])?;
    if_held(key, written)?;
    Ok(Outcome::quiet(()))
}

pub(super) fn progress(
    connection: &Connection,
    key: ClaimKey,
    progress: &Progress,
    remarks: &Remarks,
) -> Result<Outcome<()>, Fault> {
    store_account(connection, key, progress, &remarks.bad)?;
    let woken = parking::note(connection, key, remarks)?;
    Ok(Outcome { value: (), woken })
}

pub(super) fn finish(
    connection: &Connection,
    key: ClaimKey,
    finish: &Finish,
    remarks: &Remarks,
    now: UnixMs,
) -> Result<Outcome<()>, Fault> {
    match finish {
        Finish::Done { progress, location } => {
            store_account(connection, key, progress, &remarks.bad)?;
            parking::note(connection, key, remarks)?;
            end_attempt(connection, key, now, Ended::Done)?;
            connection
                .prepare_cached(
                    "UPDATE deliveries SET state = 'done', attempts = attempts + 1, location = ?2, ended = ?3, \
                     worker = NULL, claimed = NULL, lease_until = NULL WHERE id = ?1",
                )?
                .execute(params![key.delivery.0, bounded(location), now.0])?;
            // Records of a woken notice are in the tally of the delivery that read them.
            if !parking::finished(connection, key, progress)? {
                tally(connection, key, now)?;
            }
            parking::ended(connection, key.delivery.0)?;
            settle_state(connection, notice_of(connection, key)?, now)?;
        }
        Finish::Quarantine { class, error } => {
            check_held(connection, key)?;
            set_aside(connection, key, &remarks.bad)?;
            end_attempt(connection, key, now, Ended::Quarantined(*class, error))?;
            connection
                .prepare_cached(
                    "UPDATE deliveries SET state = 'quarantined', attempts = attempts + 1, class = ?2, error = ?3, \
                     ended = ?4, worker = NULL, claimed = NULL, lease_until = NULL WHERE id = ?1",
                )?
                .execute(params![key.delivery.0, class.as_str(), bounded(error), now.0])?;
            settle_state(connection, notice_of(connection, key)?, now)?;
        }
        // What was set aside since the last progress lies behind it: the next attempt reads those records again.
        Finish::Retry { due, class, error, uses_attempt, has_progressed } => {
            check_held(connection, key)?;
            end_attempt(connection, key, now, Ended::Retry(*class, error))?;
            connection
                .prepare_cached(
                    "UPDATE deliveries SET state = 'ready', attempts = iif(?6, 0, attempts) + ?2, \
                     lost = iif(?6, 0, lost), due = ?3, class = ?4, error = ?5, \
                     worker = NULL, claimed = NULL, lease_until = NULL WHERE id = ?1",
                )?
                .execute(params![
                    key.delivery.0,
                    i64::from(*uses_attempt),
                    (*due > now).then_some(due.0),
                    class.as_str(),
                    bounded(error),
                    has_progressed
                ])?;
        }
        Finish::Release => {
            check_held(connection, key)?;
            end_attempt(connection, key, now, Ended::Released)?;
            connection
                .prepare_cached(
                    "UPDATE deliveries SET state = 'ready', worker = NULL, claimed = NULL, lease_until = NULL \
                     WHERE id = ?1",
                )?
                .execute([key.delivery.0])?;
        }
    }
    Ok(Outcome::woken(()))
}

fn notice_of(connection: &Connection, key: ClaimKey) -> Result<NoticeId, Fault> {
    let notice = connection
        .prepare_cached("SELECT notice FROM deliveries WHERE id = ?1")?
        .query_row([key.delivery.0], |row| row.get(0))?;
    Ok(NoticeId(notice))
}

/// Stores how far a delivery has come and what it set aside. A delivery that starts over counts anew: what an earlier
/// attempt set aside may be readable by now, and is forgotten.
fn store_account(connection: &Connection, key: ClaimKey, progress: &Progress, bad: &[BadRecord]) -> Result<(), Fault> {
    let stored: Option<i64> = connection
        .prepare_cached("SELECT quarantined FROM deliveries WHERE id = ?1")?
        .query_row([key.delivery.0], |row| row.get(0))
        .optional()?;
    store_progress(connection, key, progress)?;
    let before = progress.counts.quarantined.saturating_sub(bad.len() as u64);
    if stored.is_some_and(|stored| stored > int(before)) {
        connection.prepare_cached("DELETE FROM bad_records WHERE delivery = ?1")?.execute([key.delivery.0])?;
    }
    set_aside(connection, key, bad)
}

fn store_progress(connection: &Connection, key: ClaimKey, progress: &Progress) -> Result<(), Fault> {
    let counts = progress.counts;
    if !counts.is_balanced() {
        // Whose claim it is comes first: a worker that has lost its lease has nothing to account for.
        check_held(connection, key)?;
        return Err(Fault::Refused(InboxError::Unbalanced { delivery: key.delivery, counts }));
    }
    let written = connection
        .prepare_cached(
            "UPDATE deliveries SET confirmed = ?3, read = ?4, delivered = ?5, filtered = ?6, parked = ?7, \
             quarantined = ?8, bytes = ?9, known = ?10 WHERE id = ?1 AND claim = ?2 AND state = 'claimed'",
        )?
        .execute(params![
            key.delivery.0,
            key.claim,
            int(progress.confirmed),
            int(counts.read),
            int(counts.delivered),
            int(counts.filtered),
            int(counts.parked),
            int(counts.quarantined),
            int(progress.bytes),
            int(progress.known)
        ])?;
    if_held(key, written)
}

/// A record that an earlier attempt set aside already is written over.
fn set_aside(connection: &Connection, key: ClaimKey, bad: &[BadRecord]) -> Result<(), Fault> {
    if bad.is_empty() {
        return Ok(());
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO bad_records (delivery, number, position, class, reason, readable, cut, bytes, blob_type) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT (delivery, number) DO UPDATE SET position = excluded.position, class = excluded.class, \
         reason = excluded.reason, readable = excluded.readable, cut = excluded.cut, bytes = excluded.bytes, \
         blob_type = excluded.blob_type",
    )?;
    for record in bad {
        insert.execute(params![
            key.delivery.0,
            int(record.number),
            int(record.offset),
            record.class.as_str(),
            bounded(&record.reason),
            record.is_readable,
            record.is_cut,
            record.bytes,
            record.blob_type
        ])?;
    }
    Ok(())
}

/// Writes the history of a claim that ends now; called while the delivery is still claimed.
pub(super) fn end_attempt(connection: &Connection, key: ClaimKey, now: UnixMs, ended: Ended<'_>) -> Result<(), Fault> {
    let (outcome, failure) = match ended {
        Ended::Done => ("done", None),
        Ended::Retry(class, error) => ("retry", Some((class.as_str(), bounded(error)))),
        Ended::Quarantined(class, error) => ("quarantined", Some((class.as_str(), bounded(error)))),
        Ended::Released => ("released", None),
        Ended::Lost => ("lost", None),
    };
    connection
        .prepare_cached(
            "INSERT INTO attempts (delivery, claim, worker, started, ended, outcome, confirmed, class, error) \
             SELECT id, claim, worker, claimed, ?3, ?4, confirmed, ?5, ?6 FROM deliveries WHERE id = ?1 AND claim = ?2",
        )?
        .execute(params![
            key.delivery.0,
            key.claim,
            now.0,
            outcome,
            failure.map(|(class, _)| class),
            failure.map(|(_, error)| error)
        ])?;
    connection
        .prepare_cached("DELETE FROM attempts WHERE delivery = ?1 AND claim <= ?2")?
        .execute(params![key.delivery.0, key.claim - ATTEMPTS_KEPT])?;
    Ok(())
}
