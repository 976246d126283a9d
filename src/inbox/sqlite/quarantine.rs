//! What was set aside, page by page: the notices that hold any come from indexes that hold little else.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use super::rows::{count, int, maybe_word, word};
use super::select::Chosen;
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::ledger::{
    Aside, AsideId, AsideKind, AsideSelector, DeliveryState, HeardAs, NoticeState, StoppedLane,
};
use crate::inbox::{DeliveryId, Target};
use crate::notice::{FeedName, NoticeId, RouteName, SinkName};

/// A page ends early when it holds this many bytes of records.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// The notices that hold what was set aside; of those with withheld records, some hold parked ones only.
const HOLDING: &str = "n.id IN (SELECT id FROM notices WHERE state = 'quarantined' \
     UNION ALL SELECT id FROM notices WHERE state = 'open' AND withheld > 0 \
     UNION ALL SELECT id FROM notices WHERE (state = 'finished' OR state = 'skipped') AND withheld > 0)";

pub(super) fn body(connection: &Connection, notice: NoticeId) -> Result<Option<Vec<u8>>, Fault> {
    let mut select = connection.prepare_cached("SELECT body FROM notices WHERE id = ?1")?;
    Ok(select.query_row([notice.0], |row| row.get(0)).optional()?.flatten())
}

pub(super) fn stopped_lanes(connection: &Connection, limit: usize) -> Result<Vec<StoppedLane>, Fault> {
    // With min(), SQLite takes the delivery's own columns from the row that has the minimum.
    let mut select = connection.prepare_cached(
        "SELECT l.route, l.sink, l.blob_type, q.count, q.notice, q.id, (SELECT count(*) FROM deliveries w \
         WHERE w.lane = q.lane AND (w.state = 'ready' OR w.state = 'claimed')) \
         FROM (SELECT lane, count(*) AS count, min(notice) AS notice, id FROM deliveries \
               WHERE state = 'quarantined' AND replaced_by IS NULL GROUP BY lane LIMIT ?1) q \
         JOIN lanes l ON l.id = q.lane ORDER BY l.id",
    )?;
    let mut rows = select.query([int(limit as u64)])?;
    let mut lanes = Vec::new();
    while let Some(row) = rows.next()? {
        lanes.push(StoppedLane {
            target: Target {
                route: RouteName::new(row.get::<_, String>(0)?),
                sink: SinkName::new(row.get::<_, String>(1)?),
            },
            blob_type: row.get(2)?,
            set_aside: count(row.get(3)?),
            notice: NoticeId(row.get(4)?),
            delivery: DeliveryId(row.get(5)?),
            waiting: count(row.get(6)?),
        });
    }
    Ok(lanes)
}

pub(super) fn page(
    connection: &Connection,
    selector: &AsideSelector,
    after: Option<AsideId>,
    limit: usize,
    with_bytes: bool,
) -> Result<Vec<Aside>, Fault> {
    let mut page = Page { connection, selector, after, limit, with_bytes, bytes: 0, found: Vec::new() };
    if limit == 0 {
        return Ok(page.found);
    }
    let mut chosen = Chosen::new(&selector.notices)?;
    chosen.and(HOLDING);
    if let Some(after) = after {
        chosen.add("n.id <= ?".to_owned(), after.notice.0.into());
    }
    let columns = "n.state, n.verdict, n.reason, n.feed, n.correlation_id, n.published, n.ended, length(n.body)";
    chosen.each(connection, columns, "n.id DESC", |row| page.take_notice(row))?;
    Ok(page.found)
}

struct Page<'a> {
    connection: &'a Connection,
    selector: &'a AsideSelector,
    after: Option<AsideId>,
    limit: usize,
    with_bytes: bool,
    bytes: usize,
    found: Vec<Aside>,
}

impl Page<'_> {
    /// Takes what the notice in `row` holds; returns whether there is room for more.
    fn take_notice(&mut self, row: &Row<'_>) -> Result<bool, Fault> {
        let reason: Option<String> = row.get(4)?;
        let bytes_kept: Option<i64> = row.get(9)?;
        let whole = Aside {
            id: AsideId { notice: NoticeId(row.get(0)?), delivery: None, number: None },
            target: None,
            feed: FeedName::new(row.get::<_, String>(5)?),
            blob_type: row.get(1)?,
            correlation_id: row.get(6)?,
            published: UnixMs(row.get(7)?),
            ended: row.get::<_, Option<i64>>(8)?.map(UnixMs),
            class: Class::Poison,
            reason: reason.unwrap_or_default(),
            offset: None,
            bytes_kept: count(bytes_kept.unwrap_or(0)),
            is_readable: false,
            is_cut: false,
            bytes: Vec::new(),
        };
        let is_unreadable = word(row, 3, HeardAs::parse)? == HeardAs::Unreadable;
        if is_unreadable && word(row, 2, NoticeState::parse)? == NoticeState::Quarantined {
            let mut whole = whole;
            if self.with_bytes && self.is_wanted(&whole) {
                whole.bytes = body(self.connection, whole.id.notice)?.unwrap_or_default();
            }
            self.add(whole);
            return Ok(!self.is_full());
        }
        self.take_deliveries(&Aside { bytes_kept: 0, ..whole })?;
        Ok(!self.is_full())
    }

    fn take_deliveries(&mut self, notice: &Aside) -> Result<(), Fault> {
        let mut select = self.connection.prepare_cached(
            "SELECT d.id, l.route, l.sink, d.state, d.class, d.error, d.ended FROM deliveries d \
             JOIN lanes l ON l.id = d.lane WHERE d.notice = ?1 AND d.replaced_by IS NULL AND d.id >= ?2 ORDER BY d.id",
        )?;
        let after = self.after.filter(|after| after.notice == notice.id.notice);
        let from = after.and_then(|after| after.delivery).map_or(0, |delivery| delivery.0);
        let mut rows = select.query(params![notice.id.notice.0, from])?;
        while let Some(row) = rows.next()? {
            let target = Target {
                route: RouteName::new(row.get::<_, String>(1)?),
                sink: SinkName::new(row.get::<_, String>(2)?),
            };
            let routes = &self.selector.notices.routes;
            if !routes.is_empty() && !routes.contains(&target.route) {
                continue;
            }
            let delivery = Aside {
                id: AsideId { delivery: Some(DeliveryId(row.get(0)?)), ..notice.id },
                target: Some(target),
                ended: row.get::<_, Option<i64>>(6)?.map(UnixMs),
                ..notice.clone()
            };
            if word(row, 3, DeliveryState::parse)? == DeliveryState::Quarantined {
                let class = maybe_word(row, 4, Class::parse)?.unwrap_or(Class::Poison);
                let reason = row.get::<_, Option<String>>(5)?.unwrap_or_default();
                self.add(Aside { class, reason, ..delivery.clone() });
            }
            self.take_records(&delivery)?;
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn take_records(&mut self, delivery: &Aside) -> Result<(), Fault> {
        if self.is_full() || self.selector.only == Some(AsideKind::Notices) {
            return Ok(());
        }
        let mut select = self.connection.prepare_cached(
            "SELECT number, position, class, reason, length(bytes), readable, cut, iif(?3, bytes, NULL) \
             FROM bad_records WHERE delivery = ?1 AND number > ?2 AND discarded IS NULL ORDER BY number",
        )?;
        let after = self.after.filter(|after| after.delivery == delivery.id.delivery);
        let from = after.and_then(|after| after.number).unwrap_or(0);
        let id = delivery.id.delivery.map_or(0, |delivery| delivery.0);
        let mut rows = select.query(params![id, int(from), self.with_bytes])?;
        while let Some(row) = rows.next()? {
            self.add(Aside {
                id: AsideId { number: Some(count(row.get(0)?)), ..delivery.id },
                offset: Some(count(row.get(1)?)),
                class: word(row, 2, Class::parse)?,
                reason: row.get(3)?,
                bytes_kept: count(row.get(4)?),
                is_readable: row.get(5)?,
                is_cut: row.get(6)?,
                bytes: row.get::<_, Option<Vec<u8>>>(7)?.unwrap_or_default(),
                ..delivery.clone()
            });
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.limit || self.bytes >= PAGE_BYTES_MAX
    }

    fn add(&mut self, aside: Aside) {
        // The page begins behind what the page before ended with.
        let is_behind = self.after.is_none_or(|after| {
            let place = |id: AsideId| (id.delivery.map(|delivery| delivery.0), id.number);
            after.notice != aside.id.notice || place(after) < place(aside.id)
        });
        if is_behind && !self.is_full() && self.is_wanted(&aside) {
            self.bytes += aside.bytes.len();
            self.found.push(aside);
        }
    }

    fn is_wanted(&self, aside: &Aside) -> bool {
        let AsideSelector { records, classes, reason, only, notices: _ } = self.selector;
        let mut named = records.iter().filter(|(notice, _)| *notice == aside.id.notice).peekable();
        let is_named = named.peek().is_none() || named.any(|(_, number)| Some(*number) == aside.id.number);
        is_named
            && only.is_none_or(|only| only == aside.kind())
            && (classes.is_empty() || classes.contains(&aside.class))
            && reason.as_ref().is_none_or(|part| aside.reason.to_lowercase().contains(&part.to_lowercase()))
    }
}
