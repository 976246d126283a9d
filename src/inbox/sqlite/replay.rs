//! Delivering again what is stored: notices go back to `heard` under the number of the run, and the planner does the
//! rest as for new ones.

use rusqlite::{Connection, params};

use super::fault::Fault;
use super::parking::{self, Replayed};
use super::plan::settle_planned;
use super::rows::count;
use super::select::{Chosen, json};
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::RunId;
use crate::inbox::ledger::{NoticeState, Replay, ReplayPlan, Selector};
use crate::notice::{NoticeId, RouteName};

/// Whether a notice can be replayed: not while it is under way anyhow, and not when nothing could be read of it.
const IS_REPLAYABLE: &str = "n.state NOT IN ('heard', 'open') AND n.verdict != 'unreadable' AND (n.woken_from IS NULL OR n.state = 'quarantined')";

/// A woken notice that is done is not done again: its records are those of the notice that they came from.
const IS_OWN: &str = "(n.woken_from IS NULL OR n.state != 'finished')";

pub(super) fn plan(connection: &Connection, selector: &Selector) -> Result<ReplayPlan, Fault> {
    let mut plan = ReplayPlan::default();
    let limit = selector.limit.unwrap_or(usize::MAX) as u64;
    if limit == 0 {
        return Ok(plan);
    }
    // The largest of its deliveries, since each of them read the same payload.
    let mut known = connection.prepare_cached("SELECT max(bytes), max(read) FROM deliveries WHERE notice = ?1")?;
    let columns = "n.state, n.verdict = 'unreadable', coalesce(length(n.body), 0)";
    let mut chosen = Chosen::new(selector)?;
    chosen.and(IS_OWN);
    chosen.each(connection, columns, "n.id", |row| {
        let state = super::rows::word(row, 2, NoticeState::parse)?;
        if matches!(state, NoticeState::Heard | NoticeState::Open) {
            plan.under_way += 1;
        } else if row.get(3)? {
            plan.unreadable += 1;
        } else {
            let body: i64 = row.get(4)?;
            let (bytes, records): (Option<i64>, Option<i64>) =
                known.query_row([row.get::<_, i64>(0)?], |row| Ok((row.get(0)?, row.get(1)?)))?;
            plan.notices += 1;
            plan.never_delivered += u64::from(records.is_none());
            plan.bytes += count(bytes.unwrap_or(body));
            plan.records += count(records.unwrap_or(0));
        }
        Ok(plan.notices < limit)
    })?;
    Ok(plan)
}

pub(super) fn start(
    connection: &Connection,
    selector: Selector,
    to: &[RouteName],
    now: UnixMs,
) -> Result<Outcome<Replay>, Fault> {
    // A selector that cannot be understood leaves no run behind.
    Chosen::new(&selector)?;
    let words = serde_json::to_string(&selector).expect("a selector is always JSON");
    let run = connection
        .prepare_cached("INSERT INTO runs (started, selector, routes) VALUES (?1, ?2, ?3) RETURNING id")?
        .query_row(params![now.0, words, (!to.is_empty()).then(|| json(to))], |row| row.get(0))?;
    let end: Option<i64> = connection.prepare_cached("SELECT max(id) FROM notices")?.query_row([], |row| row.get(0))?;
    Ok(Outcome::quiet(Replay {
        run: RunId(run),
        selector,
        after: NoticeId(i64::MIN),
        end: NoticeId(end.unwrap_or(0)),
        sent: 0,
    }))
}

/// The next notices of a replay, read beside the writer.
pub(super) fn next(connection: &Connection, replay: &Replay, notices_max: usize) -> Result<Vec<NoticeId>, Fault> {
    let left = replay.selector.limit.unwrap_or(usize::MAX).saturating_sub(replay.sent).min(notices_max);
    let mut chosen = Chosen::new(&replay.selector)?;
    chosen.and(IS_REPLAYABLE);
    chosen.add("n.id > ?".to_owned(), replay.after.0.into());
    chosen.add("n.id <= ?".to_owned(), replay.end.0.into());
    let mut notices = Vec::new();
    if left == 0 {
        return Ok(notices);
    }
    chosen.each(connection, "1", "n.id", |row| {
        notices.push(NoticeId(row.get(0)?));
        Ok(notices.len() < left)
    })?;
    Ok(notices)
}

/// Sends notices back to `heard`; returns how many there were. One that is under way by now is left alone.
pub(super) fn send(
    connection: &Connection,
    run: RunId,
    notices: &[NoticeId],
    now: UnixMs,
) -> Result<Outcome<usize>, Fault> {
    let mut reset = connection.prepare_cached(&format!(
        "UPDATE notices AS n SET state = 'heard', run = ?2, reason = NULL, ended = NULL WHERE n.id = ?1 AND {IS_REPLAYABLE}"
    ))?;
    let mut replace = connection.prepare_cached(
        "UPDATE deliveries SET replaced_by = ?2 WHERE notice = ?1 AND replaced_by IS NULL AND ( \
             (SELECT routes FROM runs WHERE id = ?2) IS NULL \
             OR lane IN (SELECT l.id FROM lanes l WHERE l.route IN \
                 (SELECT value FROM json_each((SELECT routes FROM runs WHERE id = ?2)))))",
    )?;
    let mut sent = 0;
    for notice in notices {
        if reset.execute(params![notice.0, run.0])? == 1 {
            replace.execute(params![notice.0, run.0])?;
            match parking::replayed(connection, *notice, run)? {
                Replayed::Ordinary | Replayed::Woken => sent += 1,
                Replayed::Elsewhere => settle_planned(connection, *notice, now, "")?,
            }
        }
    }
    Ok(Outcome { value: sent, woken: sent > 0 })
}
