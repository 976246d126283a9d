//! Whether everything adds up: what each notice says of itself, against what its deliveries and records say.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::keys;
use super::parking;
use super::rows::{self, PROGRESS_COLUMNS, count, int, word};
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::ledger::{
    AuditStep, Audited, AuditedAccount, DeliveryState, Examination, Finding, HeardAs, NoticeState, StuckLease,
};
use crate::inbox::{DeliveryId, Progress, Target};
use crate::notice::{NoticeId, RouteName, SinkName};

pub(super) fn step(connection: &Connection, after: Option<NoticeId>, notices_max: usize) -> Result<AuditStep, Fault> {
    let mut step = Step { connection, accounts: BTreeMap::new(), seen: AuditStep::default() };
    let mut select = connection
        .prepare_cached("SELECT id, state, verdict, withheld, run, woken_from IS NOT NULL FROM notices WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let mut rows = select.query(params![after.map_or(i64::MIN, |after| after.0), int(notices_max as u64)])?;
    while let Some(row) = rows.next()? {
        step.look_at(&NoticeRow {
            id: NoticeId(row.get(0)?),
            state: word(row, 1, NoticeState::parse)?,
            heard_as: word(row, 2, HeardAs::parse)?,
            withheld: count(row.get(3)?),
            run: row.get(4)?,
            is_woken: row.get(5)?,
        })?;
    }
    step.seen.accounts = step.accounts.into_values().collect();
    Ok(step.seen)
}

pub(super) fn remember(connection: &Connection, audited: &Audited) -> Result<Outcome<()>, Fault> {
    connection
        .prepare_cached(
            "INSERT INTO audits (id, at, notices, deliveries, findings) VALUES (1, ?1, ?2, ?3, ?4) \
             ON CONFLICT (id) DO UPDATE SET at = excluded.at, notices = excluded.notices, \
             deliveries = excluded.deliveries, findings = excluded.findings",
        )?
        .execute(params![audited.at.0, int(audited.notices), int(audited.deliveries), int(audited.findings)])?;
    Ok(Outcome::quiet(()))
}

pub(super) fn latest(connection: &Connection) -> Result<Option<Audited>, Fault> {
    let mut select = connection.prepare_cached("SELECT at, notices, deliveries, findings FROM audits")?;
    let latest = select.query_row([], |row| {
        Ok(Audited {
            at: UnixMs(row.get(0)?),
            notices: count(row.get(1)?),
            deliveries: count(row.get(2)?),
            findings: count(row.get(3)?),
        })
    });
    Ok(latest.optional()?)
}

/// What is told of the damage and of stuck leases; the first few say what to do.
const TOLD_MAX: i64 = 20;

/// A lease that ran out so long ago should have been taken over.
const OVERDUE: Duration = Duration::from_secs(300);

/// No lease is given for longer; one that ends later was given by another clock.
const LEASE_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) fn examine(connection: &Connection, now: UnixMs) -> Result<Examination, Fault> {
    let mut damage = Vec::new();
    let mut check = connection.prepare(&format!("PRAGMA quick_check({TOLD_MAX})"))?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let told: String = row.get(0)?;
        if told != "ok" {
            damage.push(told);
        }
    }
    let mut check = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()?
        && (damage.len() as i64) < TOLD_MAX
    {
        let (table, row, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let row = row.map_or(String::new(), |row| format!(" {row}"));
        damage.push(format!("row{row} of {table} belongs to one of {parent} that is not there"));
    }
    damage.extend(keys::damage(connection, TOLD_MAX.saturating_sub(damage.len() as i64))?);
    let mut select = connection.prepare(
        "SELECT notice, id, worker, lease_until FROM deliveries \
         WHERE state = 'claimed' AND (lease_until < ?1 OR lease_until > ?2) ORDER BY lease_until LIMIT ?3",
    )?;
    let stuck = select.query_map(params![now.minus(OVERDUE).0, now.plus(LEASE_MAX).0, TOLD_MAX], |row| {
        Ok(StuckLease {
            notice: NoticeId(row.get(0)?),
            delivery: DeliveryId(row.get(1)?),
            worker: row.get(2)?,
            lease_until: UnixMs(row.get(3)?),
        })
    })?;
    let stuck_leases = stuck.collect::<Result<_, _>>()?;
    let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(Examination { schema, damage, stuck_leases })
}

struct NoticeRow {
    id: NoticeId,
    state: NoticeState,
    heard_as: HeardAs,
    withheld: u64,
    run: i64,
    /// Made of parked records: what becomes of them stands with the notice that they were read from.
    is_woken: bool,
}

struct DeliveryRow {
    id: DeliveryId,
    target: Target,
    run: i64,
    replaced_by: Option<i64>,
    state: DeliveryState,
    discarded: u64,
    bad_records: u64,
    bad_discarded: u64,
    progress: Progress,
}

/// What the deliveries of a notice that count make of it.
#[derive(Default)]
struct Sum {
    all: u64,
    unfinished: u64,
    quarantined: u64,
    withheld: u64,
}

struct Step<'a> {
    connection: &'a Connection,
    accounts: BTreeMap<(String, String), AuditedAccount>,
    seen: AuditStep,
}

impl Step<'_> {
    fn look_at(&mut self, notice: &NoticeRow) -> Result<(), Fault> {
        self.seen.last = Some(notice.id);
        self.seen.notices += 1;
        let mut sum = Sum::default();
        for delivery in deliveries(self.connection, notice.id)? {
            self.seen.deliveries += 1;
            self.look_at_delivery(notice, &delivery)?;
            if delivery.replaced_by.is_none() {
                if !notice.is_woken {
                    self.add(&delivery);
                }
                let counts = delivery.progress.counts;
                sum.all += 1;
                sum.unfinished += u64::from(matches!(delivery.state, DeliveryState::Ready | DeliveryState::Claimed));
                sum.quarantined += u64::from(delivery.state == DeliveryState::Quarantined);
                sum.withheld = sum
                    .withheld
                    .saturating_add(counts.parked)
                    .saturating_add(counts.quarantined)
                    .saturating_sub(delivery.discarded);
            }
        }
        self.look_at_state(notice, &sum);
        if notice.run != 0 {
            self.look_for_run(notice.id, None, notice.run)?;
        }
        Ok(())
    }

    fn look_at_delivery(&mut self, notice: &NoticeRow, delivery: &DeliveryRow) -> Result<(), Fault> {
        let counts = delivery.progress.counts;
        if !counts.is_balanced() {
            self.find(
                notice.id,
                Some(delivery.id),
                format!(
                    "{} records read are not {} delivered + {} filtered + {} parked + {} quarantined",
                    counts.read, counts.delivered, counts.filtered, counts.parked, counts.quarantined
                ),
            );
        }
        // A delivery that was set aside whole keeps what it found bad behind its last stored account, to be looked at.
        let is_kept = match delivery.state {
            DeliveryState::Quarantined => delivery.bad_records >= counts.quarantined,
            _ => delivery.bad_records == counts.quarantined,
        };
        if !is_kept && !notice.is_woken {
            let what = format!("{} records are quarantined, and {} are kept", counts.quarantined, delivery.bad_records);
            self.find(notice.id, Some(delivery.id), what);
        }
        if delivery.state == DeliveryState::Done && delivery.replaced_by.is_none() && !notice.is_woken {
            let parked = parking::parked_of(self.connection, delivery.id)?;
            if parked != counts.parked {
                let what = format!("{} records are parked, and {parked} wait or are on their way", counts.parked);
                self.find(notice.id, Some(delivery.id), what);
            }
        }
        if delivery.discarded != delivery.bad_discarded {
            let (counted, marked) = (delivery.discarded, delivery.bad_discarded);
            let what = format!("{counted} records are counted as discarded, and {marked} are marked so");
            self.find(notice.id, Some(delivery.id), what);
        }
        for run in [Some(delivery.run).filter(|run| *run != 0), delivery.replaced_by].into_iter().flatten() {
            self.look_for_run(notice.id, Some(delivery.id), run)?;
        }
        Ok(())
    }

    /// A notice that waits for its plan is settled by that; one that is open is settled as its deliveries end.
    fn look_at_state(&mut self, notice: &NoticeRow, sum: &Sum) {
        let expected = match sum {
            _ if notice.state == NoticeState::Heard => return,
            Sum { all: 0, .. }
                if notice.heard_as == HeardAs::Unreadable && notice.state == NoticeState::Quarantined =>
            {
                NoticeState::Quarantined
            }
            Sum { all: 0, .. } => NoticeState::Skipped,
            Sum { unfinished: 1.., .. } => NoticeState::Open,
            Sum { quarantined: 1.., .. } => NoticeState::Quarantined,
            _ => NoticeState::Finished,
        };
        if notice.state != expected {
            let what = format!("it is {}, and its deliveries make it {expected}", notice.state);
            self.find(notice.id, None, what);
        }
        let withheld = if notice.is_woken { 0 } else { sum.withheld };
        if notice.state != NoticeState::Open && notice.withheld != withheld {
            let what = format!(
                "it withholds {} records, and its deliveries have {} that are parked or quarantined and not discarded",
                notice.withheld, withheld
            );
            self.find(notice.id, None, what);
        }
    }

    fn look_for_run(&mut self, notice: NoticeId, delivery: Option<DeliveryId>, run: i64) -> Result<(), Fault> {
        let mut select = self.connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?1)")?;
        if !select.query_row([run], |row| row.get(0))? {
            self.find(notice, delivery, format!("it belongs to run {run}, which does not exist"));
        }
        Ok(())
    }

    fn add(&mut self, delivery: &DeliveryRow) {
        let key = (delivery.target.route.to_string(), delivery.target.sink.to_string());
        let account = self.accounts.entry(key).or_insert_with(|| AuditedAccount::new(delivery.target.clone()));
        account.add(1, delivery.progress.counts, delivery.discarded);
    }

    fn find(&mut self, notice: NoticeId, delivery: Option<DeliveryId>, what: String) {
        self.seen.findings.push(Finding { notice, delivery, what });
    }
}

fn deliveries(connection: &Connection, notice: NoticeId) -> Result<Vec<DeliveryRow>, Fault> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT d.id, l.route, l.sink, d.run, d.replaced_by, d.state, d.discarded, \
         (SELECT count(*) FROM bad_records b WHERE b.delivery = d.id), \
         (SELECT count(b.discarded) FROM bad_records b WHERE b.delivery = d.id), {PROGRESS_COLUMNS} \
         FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE d.notice = ?1 ORDER BY d.id"
    ))?;
    let mut rows = select.query([notice.0])?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        deliveries.push(DeliveryRow {
            id: DeliveryId(row.get(0)?),
            target: Target {
                route: RouteName::new(row.get::<_, String>(1)?),
                sink: SinkName::new(row.get::<_, String>(2)?),
            },
            run: row.get(3)?,
            replaced_by: row.get(4)?,
            state: word(row, 5, DeliveryState::parse)?,
            discarded: count(row.get(6)?),
            bad_records: count(row.get(7)?),
            bad_discarded: count(row.get(8)?),
            progress: rows::progress(row, 9)?,
        });
    }
    Ok(deliveries)
}
