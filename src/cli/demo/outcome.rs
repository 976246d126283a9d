//! What the demo found out: the account of all that was published, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use indicatif::HumanCount;
use serde::Serialize;

use crate::inbox::ledger::{NoticeLine, NoticeState, Summary};
use crate::ops::Metrics;
use crate::record::Counts;

use super::account::Found;
use super::feeds::Played;

/// What the demo found out.
#[derive(Debug, Serialize)]
pub struct Outcome {
    notices: u64,
    records: Counts,
    /// Records that still wait for their parent.
    parked: u64,
    /// Records that waited, and went on when their parent had landed.
    woken: u64,
    lost: u64,
    duplicated: u64,
    /// Notices that arrived again and were not stored again.
    notices_duplicate: u64,
    notices_quarantined: u64,
    token_refreshes: u64,
    seconds: f64,
    output: String,
    /// The same for each feed.
    feeds: BTreeMap<&'static str, OfFeed>,
    #[serde(skip)]
    troubles: Vec<(&'static str, String)>,
    #[serde(skip)]
    by_blob_type: BTreeMap<String, Row>,
    #[serde(skip)]
    quarantined: Vec<(i64, String, String)>,
    #[serde(skip)]
    dir: String,
}

/// What the demo found out about one feed.
#[derive(Debug, Serialize)]
struct OfFeed {
    notices: u64,
    records: Counts,
    lost: u64,
    duplicated: u64,
    /// Arrivals of what was stored already.
    #[serde(skip)]
    again: u64,
    #[serde(skip)]
    quarantined: u64,
}

#[derive(Debug, Default)]
struct Row {
    notices: u64,
    counts: Counts,
    woken: u64,
    quarantined: u64,
    again: u64,
}

impl Row {
    /// Adds a notice; `true` where it is one of its own, and none of woken records.
    fn add(&mut self, notice: &NoticeLine) -> bool {
        self.again += notice.seen_count.saturating_sub(1);
        if notice.woken_from.is_some() {
            // Its records stand in the account of the notice that brought them.
            self.woken += notice.counts.read;
            return false;
        }
        self.notices += 1;
        self.quarantined += u64::from(notice.state == NoticeState::Quarantined);
        add(&mut self.counts, notice.counts);
        true
    }
}

impl Outcome {
    /// Puts together what the inbox and the output say.
    pub fn new(
        summary: &Summary,
        notices: &[NoticeLine],
        played: Vec<(Found, Played)>,
        metrics: &Metrics,
        took: Duration,
        dir: &Path,
    ) -> Self {
        let mut by_blob_type: BTreeMap<String, Row> = BTreeMap::new();
        let mut by_feed: BTreeMap<&str, Row> = BTreeMap::new();
        let mut quarantined = Vec::new();
        for notice in notices {
            let blob_type = if notice.blob_type.is_empty() { "(not readable)" } else { &notice.blob_type };
            by_feed.entry(notice.feed.as_str()).or_default().add(notice);
            let is_own = by_blob_type.entry(blob_type.to_owned()).or_default().add(notice);
            if is_own && notice.state == NoticeState::Quarantined {
                // Its feed says more of it than a blob type that nobody could read.
                let of = if played.len() > 1 { format!("{} {blob_type}", notice.feed) } else { blob_type.to_owned() };
                quarantined.push((notice.id.0, of, notice.reason.clone().unwrap_or_default()));
            }
        }
        quarantined.sort();
        let mut feeds = BTreeMap::new();
        for (found, played) in &played {
            let row = by_feed.remove(played.feed.name()).unwrap_or_default();
            feeds.insert(played.feed.name(), OfFeed::new(&row, *found));
        }
        let mut records = Counts::default();
        by_blob_type.values().for_each(|row| add(&mut records, row.counts));
        Self {
            notices: by_blob_type.values().map(|row| row.notices).sum(),
            records,
            parked: summary.parked.records,
            woken: metrics.records_woken.get(),
            lost: feeds.values().map(|feed| feed.lost).sum(),
            duplicated: feeds.values().map(|feed| feed.duplicated).sum(),
            notices_duplicate: feeds.values().map(|feed| feed.again).sum(),
            notices_quarantined: summary.notices.quarantined,
            token_refreshes: metrics.token_refreshes.get(),
            seconds: (took.as_secs_f64() * 100.0).round() / 100.0,
            output: dir.join("output").display().to_string(),
            feeds,
            troubles: played.into_iter().map(|(_, played)| (played.feed.name(), played.trouble)).collect(),
            by_blob_type,
            quarantined,
            dir: dir.display().to_string(),
        }
    }

    /// Whether nothing was lost or doubled, and the account adds up.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.parked == 0 && self.records.is_balanced()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = if self.feeds.len() > 1 { self.rows_of_feeds() } else { self.rows_of_blob_types() };
        text.push_str("\nin the middle:\n");
        for (feed, trouble) in &self.troubles {
            let _ = writeln!(text, "  {feed:<8} {trouble}");
        }
        if self.feeds.contains_key("eg") {
            let _ = writeln!(
                text,
                "\n{} records came before what they refer to: they were parked, and woken when it had landed; {} are left",
                HumanCount(self.woken),
                HumanCount(self.parked)
            );
        }
        if !self.quarantined.is_empty() {
            text.push_str("\nset aside whole, each with its reason:\n");
        }
        for (id, of, reason) in &self.quarantined {
            let _ = writeln!(text, "  {id:>4}  {of}: {}", short(reason));
        }
        self.verdict(&mut text);
        text
    }

    fn rows_of_blob_types(&self) -> String {
        let mut text = String::new();
        let longest = self.by_blob_type.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        let width = (longest + 1).max(26);
        let mut line = |columns: [&str; 9]| {
            let [name, notices, read, delivered, filtered, woken, parked, quarantined, whole] = columns;
            let row = format!(
                "{name:<width$}{notices:>7}{read:>10}{delivered:>10}{filtered:>9}{woken:>9}{parked:>7}{quarantined:>12}{whole:>7}"
            );
            let _ = writeln!(text, "{}", row.trim_end());
        };
        line(["blob type", "notices", "read", "delivered", "filtered", "woken", "parked", "quarantined", "whole"]);
        let mut show = |name: &str, row: &Row| {
            let count = |number: u64| HumanCount(number).to_string();
            line([
                name,
                &count(row.notices),
                &count(row.counts.read),
                &count(row.counts.delivered),
                &count(row.counts.filtered),
                &count(row.woken),
                &count(row.counts.parked),
                &count(row.counts.quarantined),
                &if row.quarantined == 0 { String::new() } else { row.quarantined.to_string() },
            ]);
        };
        for (blob_type, row) in &self.by_blob_type {
            show(blob_type, row);
        }
        let all = Row {
            notices: self.notices,
            counts: self.records,
            woken: self.by_blob_type.values().map(|row| row.woken).sum(),
            quarantined: self.notices_quarantined,
            again: 0,
        };
        show("all", &all);
        text
    }

    fn rows_of_feeds(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, columns: [String; 9]| {
            let [notices, again, read, delivered, filtered, parked, quarantined, whole, verdict] = columns;
            let _ = writeln!(
                text,
                "{name:<9}{notices:>8}{again:>7}{read:>10}{delivered:>11}{filtered:>10}{parked:>8}{quarantined:>13}{whole:>7}{verdict:>16}"
            );
        };
        let head =
            ["notices", "again", "read", "delivered", "filtered", "parked", "quarantined", "whole", "lost / doubled"];
        line("feed", head.map(str::to_owned));
        let mut show = |name: &str, feed: &OfFeed| {
            let count = |number: u64| HumanCount(number).to_string();
            let OfFeed { notices, records, again, quarantined, lost, duplicated, .. } = feed;
            line(
                name,
                [
                    count(*notices),
                    count(*again),
                    count(records.read),
                    count(records.delivered),
                    count(records.filtered),
                    count(records.parked),
                    count(records.quarantined),
                    count(*quarantined),
                    format!("{} / {}", count(*lost), count(*duplicated)),
                ],
            );
        };
        for (name, feed) in &self.feeds {
            show(name, feed);
        }
        show(
            "all",
            &OfFeed {
                notices: self.notices,
                records: self.records,
                again: self.notices_duplicate,
                quarantined: self.notices_quarantined,
                lost: self.lost,
                duplicated: self.duplicated,
            },
        );
        text.push_str(
            "again: arrived once more, and stored once. quarantined: single records; whole: notices. Both with their reason.\n",
        );
        text
    }

    fn verdict(&self, text: &mut String) {
        let verdict = if self.is_clean() { "nothing lost, nothing twice" } else { "NOT AS IT SHOULD BE" };
        let _ = writeln!(
            text,
            "\n{verdict}: {} lost, {} doubled; {} notices came twice and were stored once",
            self.lost, self.duplicated, self.notices_duplicate,
        );
        if self.token_refreshes > 0 {
            let _ = writeln!(text, "EG Retail's tokens were fetched {} times", self.token_refreshes);
        }
        let _ = writeln!(
            text,
            "{} notices and {} records in {} s\n",
            HumanCount(self.notices),
            HumanCount(self.records.read),
            self.seconds
        );
        let dir = &self.dir;
        let has = |feed: &str| self.feeds.contains_key(feed);
        if has("eg") || has("drop") || has("webhook") {
            let _ = writeln!(text, "files     {}", self.output);
        }
        for (feed, name) in [("eg", "shop"), ("bucket", "events")] {
            if has(feed) {
                let _ = writeln!(text, "{name:<9} {dir}/{name}.db");
            }
        }
        let _ = writeln!(text, "look      longshore --config {dir}/longshore.toml status | notices | show 1");
    }
}

impl OfFeed {
    fn new(row: &Row, found: Found) -> Self {
        Self {
            notices: row.notices,
            records: row.counts,
            lost: found.lost,
            duplicated: found.duplicated,
            again: row.again,
            quarantined: row.quarantined,
        }
    }
}

/// A reason with each address cut down to its last segment: the rest is the same for all.
fn short(reason: &str) -> String {
    let words = reason
        .split(' ')
        .map(|word| if word.starts_with("http") { word.rsplit('/').next().unwrap_or(word) } else { word });
    words.collect::<Vec<_>>().join(" ")
}

fn add(sum: &mut Counts, counts: Counts) {
    sum.read += counts.read;
    sum.delivered += counts.delivered;
    sum.filtered += counts.filtered;
    sum.parked += counts.parked;
    sum.quarantined += counts.quarantined;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_feed(notices: u64, read: u64, quarantined: u64, again: u64, lost: u64) -> OfFeed {
        let records = Counts { read, delivered: read - quarantined, quarantined, ..Counts::default() };
        OfFeed { notices, records, lost, duplicated: 0, again, quarantined: 0 }
    }

    fn outcome(lost: u64) -> Outcome {
        let feeds = BTreeMap::from([("drop", of_feed(10, 2_020, 2, 5, 0)), ("webhook", of_feed(80, 90, 0, 8, lost))]);
        let trouble = |feed, text: &str| (feed, text.to_owned());
        Outcome {
            notices: 90,
            records: Counts { read: 2_110, delivered: 2_108, quarantined: 2, ..Counts::default() },
            parked: 0,
            woken: 0,
            lost,
            duplicated: 0,
            notices_duplicate: 13,
            notices_quarantined: 1,
            token_refreshes: 0,
            seconds: 3.25,
            output: "/demo/output".to_owned(),
            feeds,
            troubles: vec![trouble("drop", "a zip sent again"), trouble("webhook", "8 events twice")],
            by_blob_type: BTreeMap::new(),
            quarantined: vec![(7, "webhook (not readable)".to_owned(), "the body is no JSON".to_owned())],
            dir: "/demo".to_owned(),
        }
    }

    #[test]
    fn several_feeds_end_in_a_table_with_a_row_for_each() {
        insta::assert_snapshot!(outcome(0).table());
    }

    #[test]
    fn a_record_that_one_feed_lost_is_told_in_its_row_and_spoils_the_whole() {
        assert!(outcome(0).is_clean());
        let outcome = outcome(3);
        assert!(!outcome.is_clean());
        let table = outcome.table();
        assert!(table.lines().any(|line| line.starts_with("webhook") && line.ends_with("3 / 0")), "{table}");
        assert!(table.contains("NOT AS IT SHOULD BE: 3 lost"), "{table}");
        let json = serde_json::to_value(&outcome).expect("JSON");
        assert_eq!(json["feeds"]["webhook"]["lost"], 3);
        assert_eq!(json["feeds"]["drop"]["records"]["quarantined"], 2);
    }
}
