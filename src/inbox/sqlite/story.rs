//! One notice's whole story.

use rusqlite::{Connection, params};

use super::fault::Fault;
use super::rows::{self, NOTICE_COLUMN_COUNT, NOTICE_COLUMNS, PROGRESS_COLUMNS, count, int, maybe_word, word};
use super::settled::SETTLED;
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::ledger::{
    Attempt, AttemptOutcome, DeliveryState, DeliveryStory, HeardAs, Hold, NoticeState, RunKind, Story,
};
use crate::inbox::{DeliveryId, RunId, Target};
use crate::notice::{NoticeId, RouteName, SinkName};
use crate::record::BadRecord;

/// Deliveries in a story: the last ones of a notice that was replayed very often.
const DELIVERIES_MAX: i64 = 100;

/// Bad records in a story. The others are asked for by delivery.
const BAD_RECORDS_MAX: usize = 10;

pub(super) fn story(connection: &Connection, id: NoticeId) -> Result<Option<Story>, Fault> {
    const AT: usize = NOTICE_COLUMN_COUNT;
    let mut select = connection.prepare_cached(&format!(
        "SELECT {NOTICE_COLUMNS}, n.state, n.reason, n.verdict, length(n.body), {SETTLED}, n.ended, n.seen_count, \
         n.last_seen, n.delivery_count, n.run, n.woken_from FROM notices n WHERE n.id = ?1"
    ))?;
    let mut rows = select.query([id.0])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let notice = rows::notice(row, None)?;
    Ok(Some(Story {
        id,
        state: word(row, AT, NoticeState::parse)?,
        reason: row.get(AT + 1)?,
        feed: notice.feed,
        dedupe_key: notice.dedupe_key,
        heard_as: word(row, AT + 2, HeardAs::parse)?,
        metadata: notice.metadata,
        body_bytes: row.get::<_, Option<i64>>(AT + 3)?.map(count),
        woken_from: row.get::<_, Option<i64>>(AT + 10)?.map(NoticeId),
        published: notice.published,
        sequence: notice.sequence,
        stored: notice.stored,
        settled: row.get::<_, Option<i64>>(AT + 4)?.map(UnixMs),
        ended: row.get::<_, Option<i64>>(AT + 5)?.map(UnixMs),
        seen_count: count(row.get(AT + 6)?),
        last_seen: UnixMs(row.get(AT + 7)?),
        delivery_count: count(row.get(AT + 8)?),
        run: RunId(row.get(AT + 9)?),
        deliveries: deliveries(connection, id)?,
    }))
}

fn deliveries(connection: &Connection, notice: NoticeId) -> Result<Vec<DeliveryStory>, Fault> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT d.id, l.route, l.sink, d.run, d.replaced_by, d.state, d.since, d.due, d.worker, d.claimed, \
         d.lease_until, d.ended, d.attempts, d.lost, d.class, d.error, d.location, \
         (SELECT count(*) FROM bad_records b WHERE b.delivery = d.id), d.discarded, \
         (SELECT kind FROM runs r WHERE r.id = d.replaced_by), {PROGRESS_COLUMNS} \
         FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE d.notice = ?1 ORDER BY d.id DESC LIMIT ?2"
    ))?;
    let mut rows = select.query(params![notice.0, DELIVERIES_MAX])?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        let id = DeliveryId(row.get(0)?);
        let held = match (row.get(8)?, row.get(9)?, row.get(10)?) {
            (Some(worker), Some(since), Some(until)) => {
                Some(Hold { worker, since: UnixMs(since), lease_until: UnixMs(until) })
            }
            _ => None,
        };
        deliveries.push(DeliveryStory {
            id,
            target: Target {
                route: RouteName::new(row.get::<_, String>(1)?),
                sink: SinkName::new(row.get::<_, String>(2)?),
            },
            run: RunId(row.get(3)?),
            replaced_by: row.get::<_, Option<i64>>(4)?.map(RunId),
            state: word(row, 5, DeliveryState::parse)?,
            since: UnixMs(row.get(6)?),
            due: row.get::<_, Option<i64>>(7)?.map(UnixMs),
            held,
            ended: row.get::<_, Option<i64>>(11)?.map(UnixMs),
            attempts: count(row.get(12)?),
            lost: count(row.get(13)?),
            class: maybe_word(row, 14, Class::parse)?,
            error: row.get(15)?,
            location: row.get(16)?,
            bad_records: count(row.get(17)?),
            discarded_records: count(row.get(18)?),
            replaced_as: maybe_word(row, 19, RunKind::parse)?,
            progress: rows::progress(row, 20)?,
            history: history(connection, id)?,
            bad_records_first: bad_records(connection, id, 1, BAD_RECORDS_MAX)?,
        });
    }
    deliveries.reverse();
    Ok(deliveries)
}

fn history(connection: &Connection, delivery: DeliveryId) -> Result<Vec<Attempt>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT worker, started, ended, outcome, confirmed, class, error FROM attempts WHERE delivery = ?1 ORDER BY claim",
    )?;
    let mut rows = select.query([delivery.0])?;
    let mut history = Vec::new();
    while let Some(row) = rows.next()? {
        history.push(Attempt {
            worker: row.get(0)?,
            started: UnixMs(row.get(1)?),
            ended: UnixMs(row.get(2)?),
            outcome: word(row, 3, AttemptOutcome::parse)?,
            confirmed: count(row.get(4)?),
            class: maybe_word(row, 5, Class::parse)?,
            error: row.get(6)?,
        });
    }
    Ok(history)
}

pub(super) fn bad_records(
    connection: &Connection,
    delivery: DeliveryId,
    from: u64,
    limit: usize,
) -> Result<Vec<BadRecord>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT number, position, reason, class, readable, cut, bytes, blob_type FROM bad_records \
         WHERE delivery = ?1 AND number >= ?2 ORDER BY number LIMIT ?3",
    )?;
    let mut rows = select.query(params![delivery.0, int(from), int(limit as u64)])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(BadRecord {
            number: count(row.get(0)?),
            offset: count(row.get(1)?),
            reason: row.get(2)?,
            class: word(row, 3, Class::parse)?,
            is_readable: row.get(4)?,
            is_cut: row.get(5)?,
            blob_type: row.get(7)?,
            bytes: row.get(6)?,
        });
    }
    Ok(records)
}
