//! What the demo shows: a line that moves, and the table in the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::inbox::ledger::{NoticeLine, NoticeState, Summary};
use crate::ops::Metrics;
use crate::record::Counts;

use super::account::Found;

/// The line that moves, on standard error; silent where that is no terminal.
pub struct Screen {
    bar: ProgressBar,
    notices: u64,
    published: std::cell::Cell<u64>,
}

impl Screen {
    /// A line that ends at `notices`.
    pub fn new(notices: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(notices), ProgressDrawTarget::stderr_with_hz(10));
        let style = "{spinner} {pos}/{len} notices ended  {wide_bar}  {msg}  {elapsed}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, notices, published: std::cell::Cell::new(0) }
    }

    /// One more file was published.
    pub fn published(&self) {
        self.published.set(self.published.get() + 1);
        self.bar.set_message(format!("{} published", self.published.get()));
        self.bar.tick();
    }

    /// Says something that stays above the line.
    pub fn say(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Shows how far the daemon is.
    pub fn show(&mut self, summary: &Summary, woken: u64) {
        let counts = summary.notices;
        let ended = counts.finished + counts.skipped + counts.quarantined;
        // Woken records come in notices of their own.
        self.bar.set_length(self.notices.max(ended + counts.heard + counts.open));
        self.bar.set_position(ended);
        self.bar.set_message(format!(
            "{} delivered, {} parked, {} woken",
            HumanCount(summary.last_day.counts.delivered),
            HumanCount(summary.parked.records),
            HumanCount(woken)
        ));
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

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
    #[serde(skip)]
    by_blob_type: BTreeMap<String, Row>,
    #[serde(skip)]
    quarantined: Vec<(i64, String, String)>,
    #[serde(skip)]
    dir: String,
}

#[derive(Debug, Default)]
struct Row {
    notices: u64,
    counts: Counts,
    woken: u64,
    quarantined: u64,
}

impl Outcome {
    /// Puts together what the inbox and the output say.
    pub fn new(
        summary: &Summary,
        notices: &[NoticeLine],
        found: Found,
        metrics: &Metrics,
        took: Duration,
        dir: &Path,
    ) -> Self {
        let mut by_blob_type: BTreeMap<String, Row> = BTreeMap::new();
        let mut quarantined = Vec::new();
        for notice in notices {
            let blob_type = if notice.blob_type.is_empty() { "(not readable)" } else { &notice.blob_type };
            let row = by_blob_type.entry(blob_type.to_owned()).or_default();
            if notice.woken_from.is_some() {
                // Its records stand in the account of the notice that brought them.
                row.woken += notice.counts.read;
                continue;
            }
            row.notices += 1;
            add(&mut row.counts, notice.counts);
            if notice.state == NoticeState::Quarantined {
                row.quarantined += 1;
                quarantined.push((notice.id.0, blob_type.to_owned(), notice.reason.clone().unwrap_or_default()));
            }
        }
        quarantined.sort();
        let mut records = Counts::default();
        by_blob_type.values().for_each(|row| add(&mut records, row.counts));
        Self {
            notices: by_blob_type.values().map(|row| row.notices).sum(),
            records,
            parked: summary.parked.records,
            woken: metrics.records_woken.get(),
            lost: found.lost,
            duplicated: found.duplicated,
            notices_duplicate: notices.iter().map(|notice| notice.seen_count.saturating_sub(1)).sum(),
            notices_quarantined: summary.notices.quarantined,
            token_refreshes: metrics.token_refreshes.get(),
            seconds: (took.as_secs_f64() * 100.0).round() / 100.0,
            output: dir.join("output").display().to_string(),
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
        let mut text = String::new();
        let mut line = |columns: [&str; 9]| {
            let [name, notices, read, delivered, filtered, woken, parked, quarantined, whole] = columns;
            let row = format!(
                "{name:<26}{notices:>7}{read:>10}{delivered:>10}{filtered:>9}{woken:>9}{parked:>7}{quarantined:>12}{whole:>7}"
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
        };
        show("all", &all);
        let _ = writeln!(
            text,
            "\n{} records came before what they refer to: they were parked, and woken when it had landed; {} are left",
            HumanCount(self.woken),
            HumanCount(self.parked)
        );
        let _ = writeln!(text, "\nset aside whole, each with its reason:");
        for (id, blob_type, reason) in &self.quarantined {
            let _ = writeln!(text, "  {id:>4}  {blob_type}: {}", short(reason));
        }
        let verdict = if self.is_clean() { "nothing lost, nothing twice" } else { "NOT AS IT SHOULD BE" };
        let _ = writeln!(
            text,
            "\n{verdict}: {} lost, {} doubled; {} announcements came twice and were stored once; \
             tokens were fetched {} times\n{} notices and {} records in {} s",
            self.lost,
            self.duplicated,
            self.notices_duplicate,
            self.token_refreshes,
            self.notices,
            HumanCount(self.records.read),
            self.seconds
        );
        let _ = writeln!(
            text,
            "\nfiles     {}\nshop      {}/shop.db\nlook      longshore --config {}/longshore.toml status | notices | show 1",
            self.output, self.dir, self.dir
        );
        text
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
