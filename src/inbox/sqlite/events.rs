//! Events by what they say, so that the same one from another source is known.

use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::rows::count;
use super::writer::Outcome;
use crate::clock::UnixMs;
use crate::inbox::ledger::Gap;
use crate::inbox::{DeliveryId, EntityKey};
use crate::notice::{FeedName, RouteName, SinkName};

/// Events forgotten in one commit. Other writes wait for it.
const EVENTS_A_STEP: i64 = 2_000;

const DAY_MS: i64 = 86_400_000;

/// Remembers what feeds heard; called in the commit that stores it.
pub(super) fn remember<'a>(
    connection: &Connection,
    events: impl Iterator<Item = (&'a FeedName, EntityKey)>,
    now: UnixMs,
) -> Result<(), Fault> {
    let mut events = events.peekable();
    if events.peek().is_none() {
        return Ok(());
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO heard_events (feed, key, day) VALUES (?1, ?2, ?3) \
         ON CONFLICT (feed, key) DO UPDATE SET day = excluded.day WHERE heard_events.day < excluded.day",
    )?;
    for (feed, key) in events {
        insert.execute(params![feed_or_new(connection, feed)?, key.0, now.0.div_euclid(DAY_MS)])?;
    }
    Ok(())
}

fn feed_of(connection: &Connection, feed: &FeedName) -> Result<Option<i64>, Fault> {
    let mut select = connection.prepare_cached("SELECT id FROM event_feeds WHERE feed = ?1")?;
    Ok(select.query_row([feed.as_str()], |row| row.get(0)).optional()?)
}

fn feed_or_new(connection: &Connection, feed: &FeedName) -> Result<i64, Fault> {
    match feed_of(connection, feed)? {
        Some(number) => Ok(number),
        None => Ok(connection
            .prepare_cached("INSERT INTO event_feeds (feed) VALUES (?1) RETURNING id")?
            .query_row([feed.as_str()], |row| row.get(0))?),
    }
}

/// Which of these events the feed has heard, or the delivery has staged, each in its place.
pub(super) fn heard(
    connection: &Connection,
    feed: &FeedName,
    keys: &[EntityKey],
    delivery: DeliveryId,
) -> Result<Vec<bool>, Fault> {
    let feed = feed_of(connection, feed)?;
    let stages = connection
        .prepare_cached("SELECT 1 FROM staged_keys WHERE delivery = ?1 LIMIT 1")?
        .exists(params![delivery.0])?;
    let mut heard = connection.prepare_cached("SELECT 1 FROM heard_events WHERE feed = ?1 AND key = ?2")?;
    // Scopes are few, and with each of them it is one seek.
    let mut staged = connection.prepare_cached(
        "SELECT 1 FROM staged_keys WHERE delivery = ?1 AND scope IN (SELECT id FROM scopes) AND key = ?2 AND gone = 0",
    )?;
    keys.iter()
        .map(|key| {
            let is_heard = feed.is_some() && heard.exists(params![feed, key.0])?;
            Ok(is_heard || stages && staged.exists(params![delivery.0, key.0])?)
        })
        .collect()
}

/// Forgets events that were heard before a moment, in one bounded step; returns whether there may be more.
pub(super) fn forget(connection: &Connection, before: UnixMs) -> Result<Outcome<bool>, Fault> {
    let forgotten = connection
        .prepare_cached(
            "DELETE FROM heard_events WHERE (feed, key) IN \
             (SELECT feed, key FROM heard_events WHERE day < ?1 ORDER BY day LIMIT ?2)",
        )?
        .execute(params![before.0.div_euclid(DAY_MS), EVENTS_A_STEP])?;
    Ok(Outcome::quiet(forgotten > 0))
}

/// What a feed's files held beyond what was known, by day.
pub(super) fn gaps(connection: &Connection, feed: &FeedName, limit: usize) -> Result<Vec<Gap>, Fault> {
    let mut select = connection.prepare_cached(
        "SELECT coalesce(json_extract(n.properties, '$.day'), strftime('%Y-%m-%d', n.published / 1000, 'unixepoch')) \
                AS day, l.route, l.sink, count(*), count(*) FILTER (WHERE d.state != 'done'), sum(d.known), \
                sum(d.delivered + d.parked + d.quarantined) \
         FROM notice_keys k JOIN notices n ON n.id = k.notice JOIN deliveries d ON d.notice = n.id JOIN lanes l ON l.id = d.lane \
         WHERE k.feed = ?1 AND n.woken_from IS NULL AND d.replaced_by IS NULL \
         GROUP BY day, l.route, l.sink ORDER BY day DESC, l.route, l.sink LIMIT ?2",
    )?;
    let mut rows = select.query(params![feed.as_str(), super::rows::int(limit as u64)])?;
    let mut gaps = Vec::new();
    while let Some(row) = rows.next()? {
        gaps.push(Gap {
            day: row.get(0)?,
            route: RouteName::new(row.get::<_, String>(1)?),
            sink: SinkName::new(row.get::<_, String>(2)?),
            files: count(row.get(3)?),
            waiting: count(row.get(4)?),
            known: count(row.get(5)?),
            missing: count(row.get(6)?),
        });
    }
    Ok(gaps)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::tests::settings;
    use crate::clock::{ManualClock, UnixMs};
    use crate::inbox::conformance::heard;
    use crate::inbox::ledger::{Ledger, Retention};
    use crate::inbox::{DeliveryId, EntityKey, EventIdentity, Inbox, SqliteInbox};
    use crate::notice::{FeedName, HeardNotice};

    const DAY: Duration = Duration::from_secs(86_400);

    /// An event is what its blob type says.
    #[derive(Debug)]
    struct ByType;

    impl EventIdentity for ByType {
        fn key(&self, heard: &HeardNotice) -> Option<EntityKey> {
            let blob_type = heard.metadata.blob_type.as_str();
            (blob_type != "nameless").then(|| key(blob_type))
        }

        fn remember(&self) -> Option<Duration> {
            Some(10 * DAY)
        }
    }

    fn key(name: &str) -> EntityKey {
        EntityKey::of(&mut Vec::new(), "event", [name])
    }

    #[tokio::test]
    async fn an_event_is_known_with_its_notice_and_forgotten_after_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(UnixMs(0).plus(100 * DAY));
        let open = || SqliteInbox::open(&settings(folder.path()), Arc::new(clock.clone())).unwrap();
        let inbox = open().remembering(Arc::new(ByType));
        let asked = || async {
            let keys = ["one", "two", "nameless", "three"].map(key).to_vec();
            inbox.heard_events(FeedName::new("eg"), keys, DeliveryId(1)).await.unwrap()
        };
        assert_eq!(asked().await, [false; 4]);
        let stored = inbox.store(vec![heard("a", "one", 0), heard("b", "nameless", 0)]).await.unwrap();
        assert_eq!(stored.len(), 2);
        clock.advance(5 * DAY);
        inbox.store(vec![heard("c", "three", 0)]).await.unwrap();
        assert_eq!(asked().await, [true, false, false, true]);
        let other = inbox.heard_events(FeedName::new("other"), vec![key("one")], DeliveryId(1)).await.unwrap();
        assert_eq!(other, [false], "each feed by itself");
        clock.advance(6 * DAY);
        inbox.prune(Retention { age: 1000 * DAY, bytes: None, keys: 1000 * DAY }).await.unwrap();
        assert_eq!(asked().await, [false, false, false, true]);
        // One that did not ask for it remembers nothing.
        open().store(vec![heard("d", "two", 0)]).await.unwrap();
        assert_eq!(asked().await, [false, false, false, true]);
    }
}
