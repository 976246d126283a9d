//! How the whole inbox is. Each number comes from an index that holds just what it counts, or from the hourly tallies.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};

use super::audit;
use super::checkpoint::log_bytes;
use super::daemons;
use super::fault::Fault;
use super::outlived;
use super::rows::{count, word};
use super::tally::hour;
use crate::clock::UnixMs;
use crate::inbox::ledger::{Done, NoticeCounts, NoticeState, RouteSummary, Summary, Waiting};
use crate::notice::{NoticeId, RouteName};
use crate::record::Counts;

pub(super) fn summary(connection: &Connection, path: &Path, now: UnixMs) -> Result<Summary, Fault> {
    let pragma =
        |name: &str| -> Result<u64, Fault> { Ok(count(connection.pragma_query_value(None, name, |row| row.get(0))?)) };
    let page = pragma("page_size")?;
    let (last_day, routes) = routes(connection, now)?;
    let unbalanced: i64 = connection.query_row(
        "SELECT count(*) FROM deliveries INDEXED BY deliveries_unbalanced \
         WHERE state = 'done' AND read != delivered + filtered + parked + quarantined",
        [],
        |row| row.get(0),
    )?;
    let outlived_keys = outlived::total(connection)?;
    Ok(Summary {
        path: path.display().to_string(),
        at: now,
        notices: notice_counts(connection)?,
        oldest_waiting: oldest_waiting(connection)?,
        routes,
        last_day,
        parked: super::parking::totals(connection)?,
        outlived_keys,
        outlived_keys_bytes: outlived_keys * outlived::BYTES_A_KEY,
        unbalanced: count(unbalanced),
        audit: audit::latest(connection)?,
        database_bytes: pragma("page_count")? * page,
        free_bytes: pragma("freelist_count")? * page,
        log_bytes: log_bytes(path),
        daemons: daemons::all(connection, now)?,
    })
}

fn notice_counts(connection: &Connection) -> Result<NoticeCounts, Fault> {
    let mut counts = NoticeCounts::default();
    for sql in [
        "SELECT state, count(*), 0 FROM notices WHERE state = 'heard' OR state = 'open' OR state = 'quarantined' \
         GROUP BY state",
        "SELECT state, count(*), count(*) FILTER (WHERE withheld > 0) FROM notices \
         WHERE state = 'finished' OR state = 'skipped' GROUP BY state",
    ] {
        let mut select = connection.prepare_cached(sql)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let number = count(row.get(1)?);
            *match word(row, 0, NoticeState::parse)? {
                NoticeState::Heard => &mut counts.heard,
                NoticeState::Open => &mut counts.open,
                NoticeState::Finished => &mut counts.finished,
                NoticeState::Skipped => &mut counts.skipped,
                NoticeState::Quarantined => &mut counts.quarantined,
            } = number;
            counts.with_withheld_records += count(row.get(2)?);
        }
    }
    Ok(counts)
}

/// A notice that is replayed waits since its replay began.
fn oldest_waiting(connection: &Connection) -> Result<Option<Waiting>, Fault> {
    let mut oldest: Option<Waiting> = None;
    for state in ["heard", "open"] {
        let waiting = connection
            .prepare_cached(&format!(
                "SELECT n.id, coalesce(r.started, n.stored) FROM notices n LEFT JOIN runs r ON r.id = n.run \
                 WHERE n.state = '{state}' ORDER BY n.id LIMIT 1"
            ))?
            .query_row([], |row| Ok(Waiting { notice: NoticeId(row.get(0)?), stored: UnixMs(row.get(1)?) }))
            .optional()?;
        oldest = oldest.into_iter().chain(waiting).min_by_key(|waiting| waiting.stored);
    }
    Ok(oldest)
}

fn routes(connection: &Connection, now: UnixMs) -> Result<(Done, Vec<RouteSummary>), Fault> {
    let mut routes: BTreeMap<String, RouteSummary> = BTreeMap::new();
    let mut add = |sql: &str, values: &[i64], fill: &dyn Fn(&mut RouteSummary, &Row<'_>) -> Result<(), Fault>| {
        let mut select = connection.prepare_cached(sql)?;
        let mut rows = select.query(rusqlite::params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let route = routes.entry(name).or_insert_with_key(|name| RouteSummary {
                route: RouteName::new(name),
                ready: 0,
                waiting: 0,
                claimed: 0,
                quarantined: 0,
                error: None,
                last_day: Done::default(),
            });
            fill(route, row)?;
        }
        Ok::<_, Fault>(())
    };
    add(&by_lane("count(*)", "state = 'ready' AND due IS NULL"), &[], &|route, row| {
        route.ready += count(row.get(1)?);
        Ok(())
    })?;
    // With min(), SQLite takes `error` from the row that has the minimum.
    add(&by_lane("count(*), error, min(due)", "due IS NOT NULL"), &[], &|route, row| {
        route.waiting += count(row.get(1)?);
        if route.error.is_none() {
            route.error = row.get(2)?;
        }
        Ok(())
    })?;
    add(&by_lane("count(*)", "state = 'claimed'"), &[], &|route, row| {
        route.claimed += count(row.get(1)?);
        Ok(())
    })?;
    add(&by_lane("count(*)", "state = 'quarantined' AND replaced_by IS NULL"), &[], &|route, row| {
        route.quarantined += count(row.get(1)?);
        Ok(())
    })?;
    add(
        "SELECT route, sum(deliveries), sum(bytes), sum(read), sum(delivered), sum(filtered), sum(parked), \
         sum(quarantined) FROM tallies WHERE hour > ?1 GROUP BY route",
        &[hour(now) - 24],
        &|route, row| {
            let number = |column| row.get::<_, i64>(column).map(count);
            route.last_day = Done {
                deliveries: number(1)?,
                bytes: number(2)?,
                counts: Counts {
                    read: number(3)?,
                    delivered: number(4)?,
                    filtered: number(5)?,
                    parked: number(6)?,
                    quarantined: number(7)?,
                },
            };
            Ok(())
        },
    )?;
    let mut all = Done::default();
    for route in routes.values() {
        let day = &route.last_day;
        all.deliveries += day.deliveries;
        all.bytes += day.bytes;
        all.counts.read += day.counts.read;
        all.counts.delivered += day.counts.delivered;
        all.counts.filtered += day.counts.filtered;
        all.counts.parked += day.counts.parked;
        all.counts.quarantined += day.counts.quarantined;
    }
    Ok((all, routes.into_values().collect()))
}

/// Groups by lane first, which an index can do alone, and then names the route.
fn by_lane(columns: &str, condition: &str) -> String {
    format!(
        "SELECT l.route, d.* FROM (SELECT {columns}, lane FROM deliveries WHERE {condition} GROUP BY lane) d \
         JOIN lanes l ON l.id = d.lane ORDER BY l.id"
    )
}
