//! Parking as people see it.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::bounds::{BYTES_A_STEP, RECORDS_A_STEP, parked_now};
use super::known::{is_known, register};
use super::record::Parked;
use super::scope::{scope, scope_or_new};
use super::tend::NEXT_DEADLINE;
use super::wake::make_notices;
use crate::clock::UnixMs;
use crate::inbox::ledger::{EntityCount, ParkedGroup, ParkedLine, ParkedSelector, ParkedTotals, ReleaseStep};
use crate::inbox::sqlite::fault::Fault;
use crate::inbox::sqlite::rows::{count, int, word};
use crate::inbox::sqlite::select::json;
use crate::inbox::sqlite::writer::Outcome;
use crate::inbox::{AtDeadline, EntityKey, Target, Tended};
use crate::notice::{EntityName, NoticeId, RouteName, SinkName};

/// A selector as a condition on a parked record `p`, its delivery `d` and its lane `l`, and its values.
fn chosen(selector: &ParkedSelector) -> (String, Vec<Value>) {
    let mut conditions = vec!["p.state = 'waiting' AND d.replaced_by IS NULL".to_owned()];
    let mut values = Vec::new();
    let lists = [
        ("l.route", selector.routes.is_empty(), json(&selector.routes)),
        ("l.sink", selector.sinks.is_empty(), json(&selector.sinks)),
        ("p.entity", selector.entities.is_empty(), json(&selector.entities)),
        ("d.notice", selector.notices.is_empty(), json(&selector.notices)),
    ];
    for (column, is_empty, list) in lists {
        if !is_empty {
            conditions.push(format!("{column} IN (SELECT value FROM json_each(?))"));
            values.push(list);
        }
    }
    if let Some(missing) = &selector.missing {
        conditions.push("instr(p.missing, ?) > 0".to_owned());
        values.push(missing.clone().into());
    }
    (conditions.join(" AND "), values)
}

const FROM: &str = "FROM parked p JOIN deliveries d ON d.id = p.delivery JOIN lanes l ON l.id = p.lane";

fn limit(selector: &ParkedSelector) -> Value {
    int(selector.limit.map_or(u64::MAX, |limit| limit as u64)).into()
}

pub(in crate::inbox::sqlite) fn lines(
    connection: &Connection,
    selector: &ParkedSelector,
) -> Result<Vec<ParkedLine>, Fault> {
    let (condition, mut values) = chosen(selector);
    values.push(limit(selector));
    let mut select = connection.prepare(&format!(
        "SELECT p.id, d.notice, p.number, l.route, l.sink, l.blob_type, p.missing, p.published, p.since, p.deadline, \
         p.at_deadline, length(p.body) {FROM} WHERE {condition} ORDER BY p.since, p.id LIMIT ?"
    ))?;
    let mut rows = select.query(params_from_iter(values))?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(ParkedLine {
            id: row.get(0)?,
            notice: NoticeId(row.get(1)?),
            number: count(row.get(2)?),
            target: Target {
                route: RouteName::new(row.get::<_, String>(3)?),
                sink: SinkName::new(row.get::<_, String>(4)?),
            },
            blob_type: row.get(5)?,
            missing: row.get(6)?,
            published: UnixMs(row.get(7)?),
            since: UnixMs(row.get(8)?),
            deadline: UnixMs(row.get(9)?),
            at_deadline: word(row, 10, AtDeadline::parse)?,
            bytes: count(row.get(11)?),
        });
    }
    Ok(lines)
}

pub(in crate::inbox::sqlite) fn groups(
    connection: &Connection,
    selector: &ParkedSelector,
) -> Result<Vec<ParkedGroup>, Fault> {
    let (condition, mut values) = chosen(selector);
    values.push(limit(selector));
    let mut select = connection.prepare(&format!(
        "SELECT l.route, l.sink, p.missing, count(*), sum(length(p.body)), min(p.since), min(p.deadline) {FROM} \
         WHERE {condition} GROUP BY l.route, l.sink, p.missing ORDER BY count(*) DESC, min(p.since), p.missing LIMIT ?"
    ))?;
    let mut rows = select.query(params_from_iter(values))?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        groups.push(ParkedGroup {
            target: Target {
                route: RouteName::new(row.get::<_, String>(0)?),
                sink: SinkName::new(row.get::<_, String>(1)?),
            },
            missing: row.get(2)?,
            records: count(row.get(3)?),
            bytes: count(row.get(4)?),
            oldest: UnixMs(row.get(5)?),
            deadline: UnixMs(row.get(6)?),
        });
    }
    Ok(groups)
}

/// One step of letting records go.
pub(in crate::inbox::sqlite) fn release(
    connection: &Connection,
    selector: &ParkedSelector,
    after: i64,
    now: UnixMs,
) -> Result<Outcome<ReleaseStep>, Fault> {
    let (condition, mut values) = chosen(selector);
    values.extend([after.into(), int(RECORDS_A_STEP as u64).into()]);
    let mut select =
        connection.prepare(&format!("SELECT p.id {FROM} WHERE {condition} AND p.id > ? ORDER BY p.id LIMIT ?"))?;
    let ids: Vec<i64> = select.query_map(params_from_iter(values), |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut step = ReleaseStep { last: after, ..ReleaseStep::default() };
    let (mut records, mut bytes) = (Vec::new(), 0);
    for id in &ids {
        if bytes >= BYTES_A_STEP {
            break;
        }
        if let Some(record) = Parked::load(connection, *id)? {
            bytes += record.bytes;
            records.push(record);
        }
        step.last = *id;
    }
    step.released = records.len() as u64;
    step.finished = ids.len() < RECORDS_A_STEP && ids.last().is_none_or(|last| *last == step.last);
    let woken = !records.is_empty();
    make_notices(connection, records, true, now, &mut Tended::default())?;
    Ok(Outcome { value: step, woken })
}

pub(in crate::inbox::sqlite) fn totals(connection: &Connection) -> Result<ParkedTotals, Fault> {
    let (records, bytes) = parked_now(connection)?;
    let moment = |sql: &str| -> Result<Option<UnixMs>, Fault> {
        let at: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(at.map(UnixMs))
    };
    Ok(ParkedTotals {
        records,
        bytes,
        oldest: moment("SELECT min(since) FROM parked WHERE state = 'waiting'")?,
        next_deadline: moment(NEXT_DEADLINE)?,
    })
}

// What a route has delivered of an export stands there as well, under a name with a slash.
pub(in crate::inbox::sqlite) fn counts(connection: &Connection) -> Result<Vec<EntityCount>, Fault> {
    let mut select = connection
        .prepare_cached("SELECT sink, entity, known FROM scopes WHERE instr(entity, '/') = 0 ORDER BY sink, entity")?;
    let counts = select.query_map([], |row| {
        Ok(EntityCount {
            sink: SinkName::new(row.get::<_, String>(0)?),
            entity: EntityName::new(row.get::<_, String>(1)?),
            keys: count(row.get(2)?),
        })
    })?;
    Ok(counts.collect::<Result<_, _>>()?)
}

pub(in crate::inbox::sqlite) fn entity_known(
    connection: &Connection,
    sink: &SinkName,
    entity: &EntityName,
    key: EntityKey,
) -> Result<bool, Fault> {
    match scope(connection, sink.as_str(), entity.as_str())? {
        Some(scope) => is_known(connection, scope, key),
        None => Ok(false),
    }
}

pub(in crate::inbox::sqlite) fn import(
    connection: &Connection,
    sink: &SinkName,
    entity: &EntityName,
    keys: &[EntityKey],
) -> Result<Outcome<u64>, Fault> {
    let known = |scope: i64| -> Result<u64, Fault> {
        let known = connection
            .prepare_cached("SELECT known FROM scopes WHERE id = ?1")?
            .query_row([scope], |row| row.get(0))?;
        Ok(count(known))
    };
    let scope = scope_or_new(connection, sink.as_str(), entity.as_str())?;
    let before = known(scope)?;
    let woken = register(connection, scope, keys, &[])?;
    Ok(Outcome { value: known(scope)?.saturating_sub(before), woken })
}
