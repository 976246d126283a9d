//! Choosing notices, and their lines in a list.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::fault::Fault;
use super::keys::Keys;
use super::rows::{count, word};
use crate::blob_type::BlobTypeFilter;
use crate::clock::UnixMs;
use crate::inbox::InboxError;
use crate::inbox::ledger::{Kept, NoticeLine, NoticeState, Selector};
use crate::notice::{FeedName, NoticeId};
use crate::record::Counts;

/// A selector as a condition on `notices n`, its values, and what SQL cannot say.
pub(super) struct Chosen {
    conditions: Vec<String>,
    values: Vec<Value>,
    blob_types: Option<BlobTypeFilter>,
}

impl Chosen {
    pub(super) fn new(selector: &Selector) -> Result<Self, Fault> {
        let blob_types = if selector.blob_types.is_empty() {
            None
        } else {
            let filter = BlobTypeFilter::new(&selector.blob_types, &[]);
            Some(filter.map_err(|error| InboxError::BadSelector { reason: error.to_string() })?)
        };
        let mut chosen = Self { conditions: vec!["true".to_owned()], values: Vec::new(), blob_types };
        let among = |column: &str| format!("{column} IN (SELECT value FROM json_each(?))");
        if !selector.ids.is_empty() {
            chosen.add(among("n.id"), json(&selector.ids));
        }
        if !selector.correlation_ids.is_empty() {
            chosen.add(among("n.correlation_id"), json(&selector.correlation_ids));
        }
        if !selector.feeds.is_empty() {
            let feeds = among("feed");
            chosen.add(format!("n.id IN (SELECT notice FROM notice_keys WHERE {feeds})"), json(&selector.feeds));
        }
        if let Some(since) = selector.since {
            chosen.add("n.published >= ?".to_owned(), since.0.into());
        }
        if let Some(until) = selector.until {
            chosen.add("n.published < ?".to_owned(), until.0.into());
        }
        if !selector.states.is_empty() {
            // Written out, not bound: SQLite uses a partial index only for what it can read in the statement.
            let states: Vec<_> = selector.states.iter().map(|state| format!("n.state = '{state}'")).collect();
            chosen.and(&format!("({})", states.join(" OR ")));
        }
        if !selector.routes.is_empty() {
            let route = among("l.route");
            let on_route = format!(
                "EXISTS (SELECT 1 FROM deliveries d JOIN lanes l ON l.id = d.lane WHERE d.notice = n.id AND {route})"
            );
            chosen.add(on_route, json(&selector.routes));
        }
        Ok(chosen)
    }

    /// Adds a condition without a value.
    pub(super) fn and(&mut self, condition: &str) {
        self.conditions.push(condition.to_owned());
    }

    /// Adds a condition with one value.
    pub(super) fn add(&mut self, condition: String, value: Value) {
        self.conditions.push(condition);
        self.values.push(value);
    }

    /// Calls `each` with every chosen row, whose first two columns are `n.id, n.blob_type` and further ones `columns`,
    /// until it says `false`.
    pub(super) fn each(
        &self,
        connection: &Connection,
        columns: &str,
        order: &str,
        mut each: impl FnMut(&Row<'_>) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let sql = format!(
            "SELECT n.id, n.blob_type, {columns} FROM notices n WHERE {} ORDER BY {order}",
            self.conditions.join(" AND ")
        );
        let mut select = connection.prepare(&sql)?;
        let mut rows = select.query(params_from_iter(&self.values))?;
        while let Some(row) = rows.next()? {
            let blob_type = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            let is_chosen = self.blob_types.as_ref().is_none_or(|filter| filter.wants(blob_type));
            if is_chosen && !each(row)? {
                break;
            }
        }
        Ok(())
    }
}

/// Values as a JSON array, which `json_each` opens again.
pub(super) fn json<T: serde::Serialize>(values: &[T]) -> Value {
    Value::Text(serde_json::to_string(values).expect("numbers and texts are always JSON"))
}

pub(super) fn notices(connection: &Connection, selector: &Selector) -> Result<Vec<NoticeLine>, Fault> {
    let chosen = Chosen::new(selector)?;
    let limit = selector.limit.unwrap_or(usize::MAX);
    let mut lines = Vec::new();
    if limit == 0 {
        return Ok(lines);
    }
    let mut sums = connection.prepare_cached(
        "SELECT count(*), coalesce(sum(attempts), 0), coalesce(sum(read), 0), coalesce(sum(delivered), 0), \
         coalesce(sum(filtered), 0), coalesce(sum(parked), 0), coalesce(sum(quarantined), 0) \
         FROM deliveries WHERE notice = ?1 AND replaced_by IS NULL",
    )?;
    let columns = "n.state, n.reason, n.feed, n.correlation_id, n.published, n.stored, n.seen_count, n.woken_from";
    chosen.each(connection, columns, "n.id DESC", |row| {
        let id: i64 = row.get(0)?;
        let (deliveries, attempts, counts) = sums.query_row([id], |row| {
            let number = |column| row.get::<_, i64>(column).map(count);
            let counts = Counts {
                read: number(2)?,
                delivered: number(3)?,
                filtered: number(4)?,
                parked: number(5)?,
                quarantined: number(6)?,
            };
            Ok((number(0)?, number(1)?, counts))
        })?;
        lines.push(NoticeLine {
            id: NoticeId(id),
            blob_type: row.get(1)?,
            state: word(row, 2, NoticeState::parse)?,
            reason: row.get(3)?,
            feed: FeedName::new(row.get::<_, String>(4)?),
            correlation_id: row.get(5)?,
            woken_from: row.get::<_, Option<i64>>(9)?.map(NoticeId),
            published: UnixMs(row.get(6)?),
            stored: UnixMs(row.get(7)?),
            seen_count: count(row.get(8)?),
            deliveries,
            attempts,
            counts,
        });
        Ok(lines.len() < limit)
    })?;
    Ok(lines)
}

/// For each key, the notice that a feed has stored under it, and its state.
pub(super) fn states_of(
    connection: &Connection,
    feed: &FeedName,
    keys: &[String],
) -> Result<Vec<Option<(NoticeId, NoticeState)>>, Fault> {
    let known = Keys::of(connection, feed)?;
    let state_of = |notice| Ok::<_, Fault>(state(connection, notice)?.map(|state| (NoticeId(notice), state)));
    keys.iter().map(|key| known.find(key)?.map_or(Ok(None), state_of)).collect()
}

fn state(connection: &Connection, notice: i64) -> Result<Option<NoticeState>, Fault> {
    let mut select = connection.prepare_cached("SELECT state FROM notices WHERE id = ?1")?;
    let mut rows = select.query([notice])?;
    rows.next()?.map(|row| word(row, 0, NoticeState::parse)).transpose()
}

/// For each prefix, the notices that a feed has stored under keys that begin with it.
pub(super) fn states_under(
    connection: &Connection,
    feed: &FeedName,
    prefixes: &[String],
) -> Result<Vec<Vec<Kept>>, Fault> {
    let keys = Keys::of(connection, feed)?;
    let mut all = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        let mut kept = Vec::new();
        for (dedupe_key, notice) in keys.under(prefix)? {
            let state = state(connection, notice)?;
            kept.extend(state.map(|state| Kept { dedupe_key, notice: NoticeId(notice), state }));
        }
        all.push(kept);
    }
    Ok(all)
}
