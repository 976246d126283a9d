//! Giving out deliveries.
//!
//! A claim costs one index seek for each lane that has unfinished deliveries, whatever number they have and however
//! many finished ones are stored: from the first row of a lane in an index on unfinished deliveries, the next seek
//! goes to the first row of the next lane. Among these heads the oldest one that is allowed wins.
//!
//! A delivery that waits for its retry keeps its `due`; the first claim after that moment clears it. So "ready now" is
//! an index too, and a thousand deliveries that wait do not stand in the way of one that does not.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::finish::{Ended, end_attempt};
use super::parking;
use super::rows::{self, NOTICE_COLUMN_COUNT, NOTICE_COLUMNS, PROGRESS_COLUMNS};
use super::writer::{Job, Outcome, unattended};
use crate::clock::UnixMs;
use crate::inbox::{Claim, ClaimKey, ClaimRequest, Claimed, DeliveryId, OnPoison, Ordering, RunId, Target};
use crate::notice::{RouteName, SinkName};

/// The first delivery of every lane, one row a seek: `?1` is the lane before.
pub(super) const NEXT_HEAD: &str = "SELECT d.lane, d.published, d.sequence, d.notice, d.id, d.state = 'claimed', d.due, l.blob_type \
     FROM deliveries d JOIN lanes l ON l.id = d.lane \
     WHERE (d.state = 'ready' OR d.state = 'claimed') AND d.lane > ?1 \
     ORDER BY d.lane, d.published, d.sequence, d.notice LIMIT 1";

/// As [`NEXT_HEAD`], of those that are ready now.
pub(super) const NEXT_READY: &str = "SELECT d.lane, d.published, d.sequence, d.notice, d.id, 0, d.due, l.blob_type \
     FROM deliveries d JOIN lanes l ON l.id = d.lane \
     WHERE d.state = 'ready' AND d.due IS NULL AND d.lane > ?1 \
     ORDER BY d.lane, d.published, d.sequence, d.notice LIMIT 1";

/// Every claimed delivery; as many as there are workers.
pub(super) const CLAIMED: &str = "SELECT d.lane, d.published, d.sequence, d.notice, d.id, d.lease_until, l.blob_type \
     FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE d.state = 'claimed'";

/// Makes ready what has waited long enough.
pub(super) const PROMOTE: &str = "UPDATE deliveries SET due = NULL WHERE due IS NOT NULL AND due <= ?1";

/// When the next delivery may become claimable by time alone.
pub(super) const NEXT_DUE: &str = "SELECT min(due) FROM deliveries WHERE due IS NOT NULL";

/// Whether anything is left to do.
pub(super) const UNFINISHED: &str = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE state = 'ready' OR state = 'claimed') \
     OR EXISTS (SELECT 1 FROM notices WHERE state = 'heard') \
     OR EXISTS (SELECT 1 FROM chores) OR EXISTS (SELECT 1 FROM wakes)";

/// Whether a lane holds a quarantined delivery that nobody has decided about.
pub(super) const STOPPED: &str = "SELECT EXISTS (SELECT 1 FROM deliveries \
     WHERE state = 'quarantined' AND replaced_by IS NULL AND lane = ?1)";

/// A delivery that could be given out.
struct Candidate {
    /// `(published, sequence, notice, lane)`: smaller goes first; of one notice's deliveries, the lane made first.
    order: (i64, i64, i64, i64),
    delivery: i64,
}

/// The claims that are held now.
#[derive(Default)]
struct Held {
    lanes: HashSet<i64>,
    per_blob_type: HashMap<String, usize>,
    /// Claims whose lease ran out: lane, candidate, blob type.
    expired: Vec<(i64, Candidate, String)>,
    first_expiry: Option<i64>,
}

pub(super) fn claim(connection: &Connection, request: &ClaimRequest) -> Result<Outcome<Claimed>, Fault> {
    connection.prepare_cached(PROMOTE)?.execute([request.now.0])?;
    let held = held(connection, request.now)?;
    let has_room = |blob_type: &str| {
        held.per_blob_type.get(blob_type).is_none_or(|count| *count < request.per_blob_type_max.max(1))
    };
    let may_stop = request.ordering == Ordering::BlobType && request.on_poison == OnPoison::Stop;
    let chosen = match request.ordering {
        Ordering::BlobType => heads(connection, NEXT_HEAD, |head| {
            let is_free = !held.lanes.contains(&head.lane) && head.due.is_none() && has_room(&head.blob_type);
            Ok(is_free && !(may_stop && is_stopped(connection, head.lane)?))
        })?,
        Ordering::None => {
            let ready = heads(connection, NEXT_READY, |head| Ok(has_room(&head.blob_type)))?;
            let expired = held.expired.into_iter().filter(|(_, _, blob_type)| has_room(blob_type));
            expired.map(|(_, candidate, _)| candidate).chain(ready).min_by_key(|candidate| candidate.order)
        }
    };
    match chosen {
        Some(candidate) => {
            let claim = take(connection, request, candidate.delivery)?;
            Ok(Outcome::quiet(Claimed::Delivery(Box::new(claim))))
        }
        None => {
            let due: Option<i64> = connection.prepare_cached(NEXT_DUE)?.query_row([], |row| row.get(0))?;
            let next_due = due.into_iter().chain(held.first_expiry).min().map(UnixMs);
            let unfinished = connection.prepare_cached(UNFINISHED)?.query_row([], |row| row.get(0))?;
            let busy = !held.lanes.is_empty() || has_undated_work(connection)?;
            let (unfinished, stopped_lanes) = if may_stop && unfinished { left(connection)? } else { (unfinished, 0) };
            Ok(Outcome::quiet(Claimed::Nothing { next_due, unfinished, busy, stopped_lanes }))
        }
    }
}

fn is_stopped(connection: &Connection, lane: i64) -> Result<bool, Fault> {
    Ok(connection.prepare_cached(STOPPED)?.query_row([lane], |row| row.get(0))?)
}

/// Whether anything is left to do that is not held up, and how many lanes are.
fn left(connection: &Connection) -> Result<(bool, u64), Fault> {
    let (mut is_any_open, mut stopped) = (false, 0);
    heads(connection, NEXT_HEAD, |head| {
        let is_stopped = is_stopped(connection, head.lane)?;
        is_any_open |= !is_stopped;
        stopped += u64::from(is_stopped);
        // None is chosen, so that every lane is looked at.
        Ok(false)
    })?;
    Ok((is_any_open || has_undated_work(connection)?, stopped))
}

/// Whether there is work beside the deliveries: to plan, or for parking.
fn has_undated_work(connection: &Connection) -> Result<bool, Fault> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM notices WHERE state = 'heard') OR {}", parking::HAS_WORK);
    Ok(connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
}

fn held(connection: &Connection, now: UnixMs) -> Result<Held, Fault> {
    let mut held = Held::default();
    let mut select = connection.prepare_cached(CLAIMED)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let lane = row.get(0)?;
        let lease_until: i64 = row.get(5)?;
        let blob_type: String = row.get(6)?;
        if lease_until > now.0 {
            held.lanes.insert(lane);
            *held.per_blob_type.entry(blob_type).or_default() += 1;
            held.first_expiry = Some(held.first_expiry.map_or(lease_until, |first| first.min(lease_until)));
        } else {
            let candidate = Candidate { order: order(row)?, delivery: row.get(4)? };
            held.expired.push((lane, candidate, blob_type));
        }
    }
    Ok(held)
}

struct Head {
    lane: i64,
    due: Option<i64>,
    blob_type: String,
}

/// Goes from lane to lane and returns the oldest head that `is_allowed`.
fn heads(
    connection: &Connection,
    sql: &str,
    mut is_allowed: impl FnMut(&Head) -> Result<bool, Fault>,
) -> Result<Option<Candidate>, Fault> {
    let mut select = connection.prepare_cached(sql)?;
    let mut lane = i64::MIN;
    let mut oldest: Option<Candidate> = None;
    loop {
        let next = select
            .query_row([lane], |row| {
                let head = Head { lane: row.get(0)?, due: row.get(6)?, blob_type: row.get(7)? };
                Ok((head, Candidate { order: order(row)?, delivery: row.get(4)? }))
            })
            .optional()?;
        let Some((head, candidate)) = next else {
            return Ok(oldest);
        };
        lane = head.lane;
        let is_older = oldest.as_ref().is_none_or(|oldest| candidate.order < oldest.order);
        if is_older && is_allowed(&head)? {
            oldest = Some(candidate);
        }
    }
}

fn order(row: &Row<'_>) -> Result<(i64, i64, i64, i64), rusqlite::Error> {
    Ok((row.get(1)?, row.get(2)?, row.get(3)?, row.get(0)?))
}

/// Makes the delivery the worker's, from whoever held it before.
fn take(connection: &Connection, request: &ClaimRequest, delivery: i64) -> Result<Claim, Fault> {
    let lost: Option<i64> = connection
        .prepare_cached("SELECT claim FROM deliveries WHERE id = ?1 AND state = 'claimed'")?
        .query_row([delivery], |row| row.get(0))
        .optional()?;
    if let Some(claim) = lost {
        end_attempt(connection, ClaimKey { delivery: DeliveryId(delivery), claim }, request.now, Ended::Lost)?;
    }
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'claimed', claim = claim + 1, lost = lost + ?5, worker = ?2, claimed = ?3, \
             lease_until = ?4, due = NULL WHERE id = ?1",
        )?
        .execute(params![
            delivery,
            request.worker,
            request.now.0,
            request.now.plus(request.lease).0,
            i64::from(lost.is_some())
        ])?;
    let mut select = connection.prepare_cached(&format!(
        "SELECT {NOTICE_COLUMNS}, n.body, l.route, l.sink, d.run, d.attempts, d.lost, d.since, d.claim, {PROGRESS_COLUMNS} \
         FROM deliveries d JOIN notices n ON n.id = d.notice JOIN lanes l ON l.id = d.lane WHERE d.id = ?1"
    ))?;
    let mut rows = select.query([delivery])?;
    let row = rows.next()?.ok_or_else(|| Fault::Strange(format!("delivery {delivery} has no notice")))?;
    const AT: usize = NOTICE_COLUMN_COUNT;
    let body: Option<Vec<u8>> = row.get(AT)?;
    Ok(Claim {
        key: ClaimKey { delivery: DeliveryId(delivery), claim: row.get(AT + 7)? },
        notice: rows::notice(row, body.map(Bytes::from))?,
        target: Target {
            route: RouteName::new(row.get_ref(AT + 1)?.as_str().map_err(rusqlite::Error::from)?),
            sink: SinkName::new(row.get_ref(AT + 2)?.as_str().map_err(rusqlite::Error::from)?),
        },
        run: RunId(row.get(AT + 3)?),
        attempt: row.get::<_, u32>(AT + 4)?.saturating_add(1),
        lost: row.get(AT + 5)?,
        since: UnixMs(row.get(AT + 6)?),
        progress: rows::progress(row, AT + 8)?,
        has_leftovers: parking::has_leftovers(connection, delivery)?,
        woken: parking::claimed(connection, delivery)?,
    })
}

/// Gives back a claim whose worker was gone before it heard of it.
pub(super) fn give_back(claimed: Claimed) -> Option<Box<dyn Job>> {
    let Claimed::Delivery(claim) = claimed else {
        return None;
    };
    let key = claim.key;
    Some(unattended(move |connection| {
        let returned = connection
            .prepare_cached(
                "UPDATE deliveries SET state = 'ready', worker = NULL, claimed = NULL, lease_until = NULL \
                 WHERE id = ?1 AND claim = ?2 AND state = 'claimed'",
            )?
            .execute(params![key.delivery.0, key.claim])?;
        Ok(Outcome { value: (), woken: returned > 0 })
    }))
}
