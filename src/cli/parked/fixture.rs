//! Fixed things that wait, for the snapshots.

use std::time::Duration;

use crate::cli::fixture::NOW;
use crate::inbox::ledger::{ParkedGroup, ParkedLine};
use crate::inbox::{AtDeadline, Target};
use crate::notice::{NoticeId, RouteName, SinkName};

const DAY: u64 = 86_400;

fn target() -> Target {
    Target { route: RouteName::new("prices"), sink: SinkName::new("shop") }
}

pub(super) fn groups() -> Vec<ParkedGroup> {
    let group = |missing: &str, records, bytes, age: u64| ParkedGroup {
        target: target(),
        missing: missing.to_owned(),
        records,
        bytes,
        oldest: NOW.minus(Duration::from_secs(age)),
        deadline: NOW.plus(Duration::from_secs(7 * DAY - age)),
    };
    vec![
        group("store-group key=G017", 120_400, 45_000_000, 7_200),
        group("item sku=10004711 or gtin=7090000047114 and store-group key=G017", 12, 4_711, 95),
        group(&format!("item sku={}\u{1b}[31m", "9".repeat(120)), 1, 380, 6 * DAY),
    ]
}

pub(super) fn lines() -> Vec<ParkedLine> {
    let line = |id: i64, number: u64, missing: &str, at_deadline| ParkedLine {
        id,
        notice: NoticeId(1_204),
        number,
        target: target(),
        blob_type: "gateway.pricechanges".to_owned(),
        missing: missing.to_owned(),
        published: NOW.minus(Duration::from_secs(7_201)),
        since: NOW.minus(Duration::from_secs(7_200)),
        deadline: NOW.plus(Duration::from_secs(7 * DAY - 7_200)),
        at_deadline,
        bytes: 380,
    };
    vec![
        line(1, 17, "store-group key=G017", AtDeadline::Quarantine),
        line(2, 1_000_018, "item sku=10004711 or gtin=7090000047114 and store-group key=G017", AtDeadline::Deliver),
    ]
}
