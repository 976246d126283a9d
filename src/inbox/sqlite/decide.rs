//! What people decide about what was set aside.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::parking;
use super::plan::{settle_planned, settle_state};
use super::rows::int;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::ledger::{AsideId, AsideSelector, Decided, Decision, RunKind};
use crate::inbox::{DeliveryId, RunId};
use crate::notice::NoticeId;

pub(super) fn begin(
    connection: &Connection,
    kind: RunKind,
    selector: &AsideSelector,
    now: UnixMs,
) -> Result<Outcome<RunId>, Fault> {
    let words = serde_json::to_string(selector).expect("a selector is always JSON");
    let run = connection
        .prepare_cached("INSERT INTO runs (started, selector, kind) VALUES (?1, ?2, ?3) RETURNING id")?
        .query_row(params![now.0, words, kind.as_str()], |row| row.get(0))?;
    Ok(Outcome::quiet(RunId(run)))
}

pub(super) fn on(
    connection: &Connection,
    run: RunId,
    decision: Decision,
    these: &[AsideId],
    now: UnixMs,
) -> Result<Outcome<Decided>, Fault> {
    let mut step = Step { connection, run, now, did: Decided::default() };
    match decision {
        Decision::GoOn | Decision::PlanAnew => step.release(these, decision == Decision::PlanAnew)?,
        Decision::Discard => step.discard(these)?,
    }
    Ok(Outcome::woken(step.did))
}

struct Step<'a> {
    connection: &'a Connection,
    run: RunId,
    now: UnixMs,
    did: Decided,
}

impl Step<'_> {
    fn release(&mut self, these: &[AsideId], anew: bool) -> Result<(), Fault> {
        let mut records = parking::Release::new(self.connection, self.now);
        for id in these {
            match (id.delivery, id.number) {
                (None, _) => self.did.unreadable += 1,
                // Where else it would go, only its notice can say.
                (Some(_), Some(_)) if anew => self.did.not_alone += 1,
                (Some(delivery), Some(number)) => records.take(id.notice.0, delivery.0, number, &mut self.did)?,
                (Some(delivery), None) => {
                    let Some(confirmed) = self.set_aside_whole(id.notice, delivery)? else {
                        continue;
                    };
                    self.did.deliveries += 1;
                    // A woken notice goes to where its records were going, or nowhere.
                    if anew && !parking::is_woken(self.connection, id.notice)? {
                        self.plan_anew(id.notice, delivery)?
                    } else {
                        self.go_on(id.notice, delivery, confirmed)?
                    }
                }
            }
        }
        records.finish()
    }

    fn plan_anew(&self, notice: NoticeId, delivery: DeliveryId) -> Result<(), Fault> {
        self.replace(delivery)?;
        parking::replaced(self.connection, notice)?;
        self.connection
            .prepare_cached("UPDATE notices SET state = 'heard', run = ?2, reason = NULL, ended = NULL WHERE id = ?1")?
            .execute(params![notice.0, self.run.0])?;
        Ok(())
    }

    /// What a sink has confirmed is not sent again: the delivery goes on after it, under its own identity.
    fn go_on(&self, notice: NoticeId, delivery: DeliveryId, confirmed: u64) -> Result<(), Fault> {
        // What lies behind its last confirmed record is read again, and set aside again if it is still bad.
        self.connection
            .prepare_cached("DELETE FROM bad_records WHERE delivery = ?1 AND number > ?2")?
            .execute(params![delivery.0, int(confirmed)])?;
        self.connection
            .prepare_cached(
                "UPDATE deliveries SET state = 'ready', attempts = 0, lost = 0, since = ?2, ended = NULL WHERE id = ?1",
            )?
            .execute(params![delivery.0, self.now.0])?;
        settle_state(self.connection, notice, self.now)
    }

    fn discard(&mut self, these: &[AsideId]) -> Result<(), Fault> {
        let mut touched = BTreeSet::new();
        for id in these {
            match (id.delivery, id.number) {
                (None, _) => self.discard_unreadable(id.notice)?,
                (Some(delivery), None) => self.discard_delivery(id.notice, delivery)?,
                (Some(delivery), Some(number)) => {
                    if self.discard_record(id.notice, delivery, number)? {
                        touched.insert(id.notice);
                    }
                }
            }
        }
        // Its history is kept for the retention from here on.
        let mut withheld = self.connection.prepare_cached(
            "UPDATE notices SET withheld = (SELECT coalesce(sum(parked + quarantined - discarded), 0) FROM deliveries d \
             WHERE d.notice = notices.id AND d.replaced_by IS NULL), ended = iif(ended IS NULL, NULL, ?2) WHERE id = ?1",
        )?;
        for notice in touched {
            withheld.execute(params![notice.0, self.now.0])?;
        }
        Ok(())
    }

    fn discard_unreadable(&mut self, notice: NoticeId) -> Result<(), Fault> {
        let reason: Option<String> = self
            .connection
            .prepare_cached(
                "SELECT reason FROM notices WHERE id = ?1 AND state = 'quarantined' AND verdict = 'unreadable'",
            )?
            .query_row([notice.0], |row| row.get(0))
            .optional()?;
        if let Some(reason) = reason {
            settle_planned(self.connection, notice, self.now, &format!("discarded by hand: {reason}"))?;
            self.did.deliveries += 1;
        }
        Ok(())
    }

    fn discard_delivery(&mut self, notice: NoticeId, delivery: DeliveryId) -> Result<(), Fault> {
        if self.set_aside_whole(notice, delivery)?.is_none() {
            return Ok(());
        }
        let (reason, is_planned): (Option<String>, bool) = self
            .connection
            .prepare_cached(
                "SELECT d.error, n.state != 'heard' FROM deliveries d JOIN notices n ON n.id = d.notice WHERE d.id = ?1",
            )?
            .query_row([delivery.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.replace(delivery)?;
        parking::replaced(self.connection, notice)?;
        parking::discarded(self.connection, notice, self.now)?;
        self.did.deliveries += 1;
        if is_planned {
            let reason = format!("discarded by hand: {}", reason.unwrap_or_default());
            settle_planned(self.connection, notice, self.now, &reason)?;
        }
        Ok(())
    }

    /// Returns whether it was there and is discarded now.
    fn discard_record(&mut self, notice: NoticeId, delivery: DeliveryId, number: u64) -> Result<bool, Fault> {
        let is_done: bool = self
            .connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM deliveries WHERE id = ?1 AND notice = ?2 AND state = 'done' \
                 AND replaced_by IS NULL)",
            )?
            .query_row(params![delivery.0, notice.0], |row| row.get(0))?;
        if !is_done {
            self.did.unsettled += 1;
            return Ok(false);
        }
        let discarded = self
            .connection
            .prepare_cached(
                "UPDATE bad_records SET discarded = ?3 WHERE delivery = ?1 AND number = ?2 AND discarded IS NULL",
            )?
            .execute(params![delivery.0, int(number), self.now.0])?;
        if discarded == 1 {
            self.connection
                .prepare_cached("UPDATE deliveries SET discarded = discarded + 1 WHERE id = ?1")?
                .execute([delivery.0])?;
            self.did.records += 1;
        }
        Ok(discarded == 1)
    }

    /// The last confirmed record of a delivery that is set aside and counts for this notice.
    fn set_aside_whole(&self, notice: NoticeId, delivery: DeliveryId) -> Result<Option<u64>, Fault> {
        let confirmed: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT confirmed FROM deliveries WHERE id = ?1 AND notice = ?2 AND state = 'quarantined' \
                 AND replaced_by IS NULL",
            )?
            .query_row(params![delivery.0, notice.0], |row| row.get(0))
            .optional()?;
        Ok(confirmed.map(super::rows::count))
    }

    fn replace(&self, delivery: DeliveryId) -> Result<(), Fault> {
        self.connection
            .prepare_cached("UPDATE deliveries SET replaced_by = ?2 WHERE id = ?1")?
            .execute(params![delivery.0, self.run.0])?;
        Ok(())
    }
}
