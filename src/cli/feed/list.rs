//! `longshore feed list`: what a bucket holds beside what the inbox has of it.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::{bucket, ended};
use crate::cli::screen::{Align, Table, clean, number, plural, second, size};
use crate::cli::select;
use crate::clock::UnixMs;
use crate::config::Config;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::{Ledger, NoticeState};
use crate::notice::NoticeId;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The feed
    name: String,
    /// How many days back; each costs a LIST request for every thousand objects in it
    #[arg(long, value_name = "N", default_value_t = 7)]
    days: u16,
    /// Only what the inbox has not heard of
    #[arg(long)]
    missing: bool,
    /// No more than so many objects one by one; all of them are counted
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    /// As a JSON array of days
    #[arg(long)]
    json: bool,
}

/// A day's folder.
#[derive(Clone, Debug, Serialize)]
struct Day {
    folder: String,
    objects: Vec<Line>,
}

/// An object, and what the inbox has of it.
#[derive(Clone, Debug, Serialize)]
struct Line {
    path: String,
    bytes: u64,
    #[serde(serialize_with = "crate::inbox::ledger::stamp::at")]
    written: UnixMs,
    /// The notice of this version; `None`: it was not heard of.
    notice: Option<NoticeId>,
    state: Option<NoticeState>,
}

pub(super) async fn run(args: Args, config: &Config, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let (feed, bucket) = bucket(config, &args.name)?;
    let mut days = Vec::new();
    for day in bucket.days(select::now(), args.days) {
        let held = bucket.day(day).await.map_err(ended)?;
        let keys: Vec<String> = held.iter().map(|held| held.dedupe_key.clone()).collect();
        let states = inbox.states_of(feed.clone(), keys).await?;
        let lines = held.into_iter().zip(states).map(|(held, known)| Line {
            path: held.object.key,
            bytes: held.object.size,
            written: held.object.modified,
            notice: known.map(|(notice, _)| notice),
            state: known.map(|(_, state)| state),
        });
        let objects: Vec<Line> = lines.filter(|line| !args.missing || line.notice.is_none()).collect();
        if !objects.is_empty() {
            days.push(Day { folder: bucket.folder(day), objects });
        }
    }
    if args.json {
        select::print_json(&days)?;
    } else {
        select::print(&screen(&days, args.limit))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn screen(days: &[Day], limit: usize) -> String {
    if days.is_empty() {
        return "nothing lies there\n".to_owned();
    }
    let mut out = String::new();
    let mut left = limit;
    for day in days {
        let bytes = day.objects.iter().map(|line| line.bytes).sum();
        let missing = day.objects.iter().filter(|line| line.notice.is_none()).count() as u64;
        let heard = if missing == 0 { "all heard".to_owned() } else { format!("{} not heard", number(missing)) };
        let count = plural(day.objects.len() as u64, "object");
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}  {count}, {}, {heard}", clean(&day.folder), size(bytes));
        let mut table = Table::new(
            2,
            &[
                ("object", Align::Flexible),
                ("size", Align::Right),
                ("written", Align::Left),
                ("state", Align::Left),
                ("notice", Align::Right),
            ],
        );
        for line in day.objects.iter().take(left) {
            table.row([
                clean(line.path.strip_prefix(&day.folder).unwrap_or(&line.path)),
                size(line.bytes),
                second(line.written),
                line.state.map_or_else(|| "not heard".to_owned(), |state| state.to_string()),
                line.notice.map_or_else(|| "-".to_owned(), |notice| notice.to_string()),
            ]);
        }
        let shown = day.objects.len().min(left);
        if shown > 0 {
            out.push_str(&table.lines(|_| None));
        }
        if shown < day.objects.len() {
            let _ = writeln!(out, "  and {} more (--limit)", number((day.objects.len() - shown) as u64));
        }
        left -= shown;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::NOW;

    #[test]
    fn what_lies_there_stands_beside_what_was_heard_of_it() {
        let line = |path: &str, known: Option<(i64, NoticeState)>| Line {
            path: path.to_owned(),
            bytes: 1_234_567,
            written: NOW,
            notice: known.map(|(notice, _)| NoticeId(notice)),
            state: known.map(|(_, state)| state),
        };
        let days = [
            Day {
                folder: "2026-03-01/".to_owned(),
                objects: vec![
                    line("2026-03-01/orders/a.jsonl.gz", Some((12, NoticeState::Open))),
                    line("2026-03-01/orders/late.jsonl.gz", None),
                ],
            },
            Day {
                folder: "2026-02-28/".to_owned(),
                objects: vec![
                    line("2026-02-28/a\n.jsonl.gz", Some((11, NoticeState::Finished))),
                    line("2026-02-28/b.jsonl.gz", Some((10, NoticeState::Quarantined))),
                ],
            },
        ];
        insta::assert_snapshot!(screen(&days, 3));
        insta::assert_snapshot!("feed_list_json", serde_json::to_string_pretty(&days[..1]).unwrap());
        assert_eq!(screen(&[], 3), "nothing lies there\n");
    }
}
