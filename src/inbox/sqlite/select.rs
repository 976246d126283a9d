//! Choosing notices, and their lines in a list.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::fault::Fault;
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
            chosen.add(among("n.feed"), json(&selector.feeds));
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
    let mut select = connection.prepare_cached("SELECT id, state FROM notices WHERE feed = ?1 AND dedupe_key = ?2")?;
    let mut states = Vec::with_capacity(keys.len());
    for key in keys {
        let mut rows = select.query([feed.as_str(), key.as_str()])?;
        states.push(match rows.next()? {
            Some(row) => Some((NoticeId(row.get(0)?), super::rows::word(row, 1, NoticeState::parse)?)),
            None => None,
        });
    }
    Ok(states)
}

/// For each prefix, the notices that a feed has stored under keys that begin with it. The index of keys answers.
pub(super) fn states_under(
    connection: &Connection,
    feed: &FeedName,
    prefixes: &[String],
) -> Result<Vec<Vec<Kept>>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT dedupe_key, id, state FROM notices WHERE feed = ?1 AND dedupe_key >= ?2 AND dedupe_key < ?3 \
         ORDER BY dedupe_key",
    )?;
    let mut all = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        // No key goes on with the last of all characters.
        let end = format!("{prefix}{}", char::MAX);
        let mut rows = select.query([feed.as_str(), prefix.as_str(), end.as_str()])?;
        let mut kept = Vec::new();
        while let Some(row) = rows.next()? {
            let (notice, state) = (NoticeId(row.get(1)?), word(row, 2, NoticeState::parse)?);
            kept.push(Kept { dedupe_key: row.get(0)?, notice, state });
        }
        all.push(kept);
    }
    Ok(all)
}
