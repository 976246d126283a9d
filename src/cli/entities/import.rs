//! `longshore entities import`: registers keys from a file, for a sink that already holds the parents.
//!
//! Reads all keys, sorts them beside the inbox where memory would not hold them, and registers them in the index's own
//! order, in bounded commits. A hundred million keys take no more memory than two million, and 16 bytes of disk each
//! meanwhile. It can be cut off anywhere and run again: a key that is known already is not new.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::source::{Format, Found, Source};
use super::unclear;
use crate::cli::exit::Exit;
use crate::cli::screen::{number, plural};
use crate::cli::select;
use crate::config::Config;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::Ledger;

/// Keys in one commit. More hold up a daemon that works meanwhile, and need a longer log: where few keys go into a large
/// index, each is on a page of its own. Fewer cost more commits.
const COMMIT_KEYS_MAX: usize = 50_000;

/// What is said where keys cannot be sorted.
const UNSORTED: &str = "the keys are sorted in a temporary file beside the inbox, 16 bytes each, and that failed: \
                        look for room there, and run the same again";

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The file; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The sink that holds them
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// The entity; need not be named where there is only one
    #[arg(long, value_name = "NAME")]
    entity: Option<String>,
    /// Which of the entity's keys the lines are; only for one key a line, and only where there are several
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// What the file holds; told by the end of its name unless given, compressed or not
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The sign between the columns of CSV; found out from the header line unless given
    #[arg(long, value_name = "SIGN")]
    csv_separator: Option<char>,
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

/// What was registered.
#[derive(Clone, Debug, Default, Serialize)]
struct Report {
    sink: String,
    entity: String,
    /// Lines or records that were read.
    read: u64,
    /// Keys that were found in them.
    keys: u64,
    /// Keys that were not known before.
    new: u64,
    /// Records that say that the entity is gone; they were left out.
    deleted: u64,
    /// Lines or records without a key, or that cannot be read.
    without_key: u64,
    /// The first of these, by number and reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_without_key: Option<(u64, String)>,
}

pub(super) async fn run(args: Args, config: &Config, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let entity = super::entity(config, args.entity.as_deref())?;
    let sink = super::sinks(config, std::slice::from_ref(&args.sink))?.remove(0);
    if args.csv_separator.is_some_and(|sign| !sign.is_ascii()) {
        return Err(unclear("the sign between columns must be an ASCII sign"));
    }
    let format = args.format.unwrap_or_else(|| Format::of(&args.file));
    let bar = bar(&args);
    let mut source = Source::open(&args.file, format, &entity, args.key.as_deref(), args.csv_separator, bar.clone())
        .map_err(Exit::Io.because())?;
    let mut report = Report { sink: sink.to_string(), entity: entity.name().to_string(), ..Report::default() };
    let mut sorter = inbox.sorter();
    while let Some(found) = source.next().await.map_err(Exit::Io.because())? {
        report.add(&found);
        sorter.add(found.keys).context(UNSORTED).map_err(Exit::Io.because())?;
        bar.set_message(format!("{} read", number(report.read)));
    }
    bar.set_length(report.keys);
    bar.set_position(0);
    bar.set_style(style("{spinner} {human_pos}/{human_len} keys  {wide_bar}  {msg}  {eta}"));
    let mut sorted = sorter.sorted().context(UNSORTED).map_err(Exit::Io.because())?;
    loop {
        let keys = sorted.take(COMMIT_KEYS_MAX).context(UNSORTED).map_err(Exit::Io.because())?;
        if keys.is_empty() {
            break;
        }
        bar.inc(keys.len() as u64);
        let new = inbox.entities_import(sink.clone(), entity.name().clone(), keys).await;
        report.new += new.context("some of the keys are registered; run the same again to register the others")?;
        bar.set_message(format!("{} new", number(report.new)));
    }
    bar.finish_and_clear();
    select::tell(args.json, &report, || screen(&report))?;
    Ok(if report.without_key > 0 { Exit::Data.into() } else { ExitCode::SUCCESS })
}

impl Report {
    fn add(&mut self, found: &Found) {
        let first_number = self.read + 1;
        self.read += found.read;
        self.keys += found.keys.len() as u64;
        self.deleted += found.deleted;
        self.without_key += found.without_key;
        if let (None, Some((at, reason))) = (&self.first_without_key, &found.first_without_key) {
            self.first_without_key = Some((first_number + at, reason.clone()));
        }
    }
}

/// The line that moves, on standard error; silent where that is no terminal.
fn bar(args: &Args) -> ProgressBar {
    let length = std::fs::metadata(&args.file).ok().filter(std::fs::Metadata::is_file).map(|found| found.len());
    let target = if args.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
    let bar = ProgressBar::with_draw_target(length, target);
    let template = match length {
        Some(_) => "{spinner} {bytes}/{total_bytes}  {wide_bar}  {msg}  {eta}",
        None => "{spinner} {bytes}  {msg}  {elapsed}",
    };
    bar.with_style(style(template))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn screen(report: &Report) -> String {
    let mut text = format!(
        "{} of {} at {} from {}: {} new, {} known before\n",
        plural(report.keys, "key"),
        report.entity,
        report.sink,
        plural(report.read, "record"),
        number(report.new),
        number(report.keys.saturating_sub(report.new))
    );
    if report.deleted > 0 {
        text.push_str(&format!("  left out, since they say that the entity is gone: {}\n", number(report.deleted)));
    }
    if report.without_key > 0 {
        text.push_str(&format!("  left out, without a key: {}\n", number(report.without_key)));
    }
    if let Some((at, reason)) = &report.first_without_key {
        text.push_str(&crate::cli::screen::wrapped(
            "    the first: ",
            &format!("number {}, {}", number(*at), crate::cli::screen::clean(reason)),
        ));
    }
    if report.new > 0 {
        text.push_str("what waited for them is woken by the daemon\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_says_what_was_new_and_what_had_no_key() {
        let mut report = Report {
            sink: "warehouse".to_owned(),
            entity: "item".to_owned(),
            read: 1_204,
            keys: 2_400,
            new: 2_398,
            deleted: 3,
            without_key: 1,
            first_without_key: Some((17, "it carries none of the keys sku, gtin".to_owned())),
        };
        insta::assert_snapshot!(screen(&report));
        insta::assert_snapshot!("import_as_json", serde_json::to_string_pretty(&report).unwrap());
        report = Report { read: 2, keys: 2, sink: report.sink, entity: report.entity, ..Report::default() };
        insta::assert_snapshot!("nothing_new", screen(&report));
    }

    #[test]
    fn the_first_without_a_key_is_counted_through_the_whole_file() {
        let mut report = Report::default();
        report.add(&Found { read: 10, ..Found::default() });
        let at = Some((4, "x".to_owned()));
        report.add(&Found { read: 10, without_key: 1, first_without_key: at, ..Found::default() });
        assert_eq!(report.first_without_key, Some((15, "x".to_owned())));
    }
}
