//! `longshore entities import`: registers keys from a file, for a sink that already holds the parents.
//!
//! Reads as it goes and commits in bounded batches: a hundred million keys take no more memory than a hundred thousand.
//! It can be cut off anywhere and run again: a key that is known already is not new.

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
use crate::inbox::ledger::Ledger;
use crate::inbox::{EntityKey, SqliteInbox};
use crate::notice::{EntityName, SinkName};

/// Keys in one commit. More hold up a daemon that works meanwhile; fewer cost more commits, and are spread over more of
/// the index each.
const COMMIT_KEYS_MAX: usize = 100_000;

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
    let mut keys = Keys { inbox, sink, entity: entity.name().clone(), waiting: Vec::new() };
    while let Some(found) = source.next().await.map_err(Exit::Io.because())? {
        report.add(&found);
        report.new += keys.add(found).await?;
        bar.set_message(format!("{} read, {} new", number(report.read), number(report.new)));
    }
    report.new += keys.commit().await?;
    bar.finish_and_clear();
    if args.json {
        select::print_json(&report)?;
    } else {
        select::print(&screen(&report))?;
    }
    Ok(if report.without_key > 0 { Exit::Data.into() } else { ExitCode::SUCCESS })
}

/// Keys on their way to the inbox.
struct Keys<'a> {
    inbox: &'a SqliteInbox,
    sink: SinkName,
    entity: EntityName,
    waiting: Vec<EntityKey>,
}

impl Keys<'_> {
    /// Adds what was found; returns how many keys were new in what was committed for it.
    async fn add(&mut self, found: Found) -> anyhow::Result<u64> {
        self.waiting.extend(found.keys);
        if self.waiting.len() < COMMIT_KEYS_MAX { Ok(0) } else { self.commit().await }
    }

    async fn commit(&mut self) -> anyhow::Result<u64> {
        if self.waiting.is_empty() {
            return Ok(0);
        }
        let mut keys = std::mem::replace(&mut self.waiting, Vec::with_capacity(COMMIT_KEYS_MAX));
        // In the index's own order each page is touched once.
        keys.sort_unstable();
        keys.dedup();
        let new = self.inbox.entities_import(self.sink.clone(), self.entity.clone(), keys).await;
        new.context("the keys up to here are registered; run the same again to go on")
    }
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
    let style = match length {
        Some(_) => "{spinner} {bytes}/{total_bytes}  {wide_bar}  {msg}  {eta}",
        None => "{spinner} {bytes}  {msg}  {elapsed}",
    };
    bar.with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
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
