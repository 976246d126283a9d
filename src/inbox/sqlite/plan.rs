//! From heard to open: the deliveries of a notice, and what its state becomes as they end.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::fault::Fault;
use super::rows::{self, NOTICE_COLUMNS, bounded};
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::{Plan, Target};
use crate::notice::{Notice, NoticeId};

pub(super) fn unplanned(connection: &Connection, limit: usize) -> Result<Vec<Notice>, Fault> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT {NOTICE_COLUMNS} FROM notices n WHERE n.state = 'heard' ORDER BY n.id LIMIT ?1"
    ))?;
    let mut rows = select.query([rows::int(limit as u64)])?;
    let mut notices = Vec::new();
    while let Some(row) = rows.next()? {
        notices.push(rows::notice(row, None)?);
    }
    Ok(notices)
}

/// What planning needs of a notice.
struct Heard {
    run: i64,
    blob_type: String,
    published: i64,
    sequence: i64,
}

pub(super) fn plan(connection: &Connection, plans: &[Plan], now: UnixMs) -> Result<Outcome<()>, Fault> {
    let mut select = connection
        .prepare_cached("SELECT run, blob_type, published, sequence FROM notices WHERE id = ?1 AND state = 'heard'")?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO deliveries (notice, run, lane, published, sequence, state, since) \
         VALUES (?1, ?2, ?3, ?4, ?5, 'ready', ?6) ON CONFLICT (notice, run, lane) DO NOTHING",
    )?;
    let mut open = connection.prepare_cached("UPDATE notices SET state = 'open' WHERE id = ?1")?;
    let mut lanes = Lanes::new(connection)?;
    let mut woken = false;
    for plan in plans {
        let heard = select
            .query_row([plan.notice.0], |row| {
                Ok(Heard { run: row.get(0)?, blob_type: row.get(1)?, published: row.get(2)?, sequence: row.get(3)? })
            })
            .optional()?;
        let Some(heard) = heard else {
            continue;
        };
        let blob_type = heard.blob_type.to_lowercase();
        let mut is_open = false;
        for target in &plan.targets {
            if !is_in_run(connection, heard.run, target)? {
                continue;
            }
            let lane = lanes.id(target, &blob_type)?;
            if has_delivery(connection, plan.notice, heard.run, lane)? {
                continue;
            }
            insert.execute(params![plan.notice.0, heard.run, lane, heard.published, heard.sequence, now.0])?;
            is_open = true;
        }
        if is_open {
            open.execute([plan.notice.0])?;
            woken = true;
        } else {
            let reason = if plan.targets.is_empty() { &plan.skip_reason } else { "no route of its run takes it" };
            settle_planned(connection, plan.notice, now, reason)?;
        }
    }
    Ok(Outcome { value: (), woken })
}

/// Whether a run goes to this target: the first goes to all, a replay may be limited to some routes.
fn is_in_run(connection: &Connection, run: i64, target: &Target) -> Result<bool, Fault> {
    if run == 0 {
        return Ok(true);
    }
    let mut select = connection.prepare_cached(
        "SELECT routes IS NULL OR EXISTS (SELECT 1 FROM json_each(routes) WHERE value = ?2) FROM runs WHERE id = ?1",
    )?;
    Ok(select.query_row(params![run, target.route.as_str()], |row| row.get(0)).optional()?.unwrap_or(true))
}

/// Whether a run leaves this lane out since a delivery on it counts already: a release sends on what was set aside,
/// and nothing that is done or goes on by itself.
fn has_delivery(connection: &Connection, notice: NoticeId, run: i64, lane: i64) -> Result<bool, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM runs WHERE id = ?2 AND kind = 'release') AND EXISTS \
         (SELECT 1 FROM deliveries WHERE notice = ?1 AND lane = ?3 AND replaced_by IS NULL)",
    )?;
    Ok(run != 0 && select.query_row(params![notice.0, run, lane], |row| row.get(0))?)
}

/// As [`settle_planned`], of a notice that is planned; one that waits for its plan is left to that.
pub(super) fn settle_state(connection: &Connection, notice: NoticeId, now: UnixMs) -> Result<(), Fault> {
    let is_planned: bool = connection
        .prepare_cached("SELECT state != 'heard' FROM notices WHERE id = ?1")?
        .query_row([notice.0], |row| row.get(0))?;
    if is_planned { settle_planned(connection, notice, now, "") } else { Ok(()) }
}

/// Gives a notice the state that its deliveries make: open while one is unfinished, quarantined if one is, finished
/// if all are done, and skipped for `reason_without` if it has none. Deliveries that a replay has replaced do not count.
/// What a woken notice withholds is in the account of the notice that its records came from.
pub(super) fn settle_planned(
    connection: &Connection,
    notice: NoticeId,
    now: UnixMs,
    reason_without: &str,
) -> Result<(), Fault> {
    let mut select = connection.prepare_cached(
        "SELECT count(*), count(*) FILTER (WHERE d.state IN ('ready', 'claimed')), \
                coalesce(sum(d.parked + d.quarantined - d.discarded), 0), \
                (SELECT q.error || ' (' || l.route || ' to ' || l.sink || ')' FROM deliveries q \
                 JOIN lanes l ON l.id = q.lane WHERE q.notice = ?1 AND q.state = 'quarantined' \
                 AND q.replaced_by IS NULL ORDER BY q.id DESC LIMIT 1) \
         FROM deliveries d WHERE d.notice = ?1 AND d.replaced_by IS NULL",
    )?;
    let (all, unfinished, withheld, quarantined): (i64, i64, i64, Option<String>) =
        select.query_row([notice.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let (state, reason, ended) = match (all, unfinished, &quarantined) {
        (0, ..) => ("skipped", Some(bounded(reason_without)), Some(now.0)),
        (_, 1.., _) => ("open", None, None),
        (_, _, Some(error)) => ("quarantined", Some(bounded(error)), Some(now.0)),
        (..) => ("finished", None, Some(now.0)),
    };
    connection
        .prepare_cached(
            "UPDATE notices SET state = ?2, reason = ?3, ended = ?4, \
             withheld = CASE WHEN woken_from IS NULL THEN ?5 ELSE 0 END WHERE id = ?1",
        )?
        .execute(params![notice.0, state, reason, ended, withheld])?;
    Ok(())
}

/// Finds the number of a lane, or makes one.
struct Lanes<'a> {
    select: CachedStatement<'a>,
    insert: CachedStatement<'a>,
}

impl<'a> Lanes<'a> {
    fn new(connection: &'a Connection) -> Result<Self, Fault> {
        Ok(Self {
            select: connection
                .prepare_cached("SELECT id FROM lanes WHERE route = ?1 AND sink = ?2 AND blob_type = ?3")?,
            insert: connection
                .prepare_cached("INSERT INTO lanes (route, sink, blob_type) VALUES (?1, ?2, ?3) RETURNING id")?,
        })
    }

    fn id(&mut self, target: &Target, blob_type: &str) -> Result<i64, Fault> {
        let key = params![target.route.as_str(), target.sink.as_str(), blob_type];
        match self.select.query_row(key, |row| row.get(0)).optional()? {
            Some(id) => Ok(id),
            None => Ok(self.insert.query_row(key, |row| row.get(0))?),
        }
    }
}
