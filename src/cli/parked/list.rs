//! `longshore parked list`: one line for each record that waits.

use std::process::ExitCode;

use super::Which;
use crate::cli::screen::{Align, Table, ago, clean, number, size, wrapped};
use crate::cli::select;
use crate::clock::UnixMs;
use crate::inbox::ledger::{Ledger, ParkedLine};
use crate::inbox::{AtDeadline, SqliteInbox};

/// How many are listed unless `--limit` says otherwise.
const LIMIT: usize = 50;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// No more than this many, those that wait the longest first
    #[arg(long, value_name = "N", default_value_t = LIMIT)]
    limit: usize,
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let lines = inbox.parked(args.which.selector(Some(args.limit))).await?;
    select::tell(args.json, &lines, || screen(&lines, args.limit, select::now()))?;
    Ok(ExitCode::SUCCESS)
}

fn screen(lines: &[ParkedLine], limit: usize, now: UnixMs) -> String {
    if lines.is_empty() {
        return "nothing is parked\n".to_owned();
    }
    let columns = [
        ("notice/record", Align::Left),
        ("blob type", Align::Flexible),
        ("route to sink", Align::Flexible),
        ("size", Align::Right),
        ("parked", Align::Right),
        ("time is up", Align::Right),
        ("and then", Align::Left),
    ];
    let mut table = Table::new(0, &columns);
    for line in lines {
        table.row([
            format!("{}/{}", line.notice, line.number),
            clean(&line.blob_type),
            clean(&format!("{} to {}", line.target.route, line.target.sink)),
            size(line.bytes),
            ago(line.since, now),
            ago(line.deadline, now),
            match line.at_deadline {
                AtDeadline::Quarantine => "quarantined",
                AtDeadline::Deliver => "delivered",
            }
            .to_owned(),
        ]);
    }
    let mut text = table.lines(|row| Some(wrapped("    for ", &clean(&lines[row].missing))));
    if lines.len() == limit {
        text.push_str(&format!("those that wait the longest: {}; there may be more (--limit)\n", number(limit as u64)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::NOW;
    use crate::cli::parked::fixture::lines;

    #[test]
    fn what_is_parked_is_listed_with_what_it_waits_for() {
        let screen = screen(&lines(), LIMIT, NOW);
        assert!(screen.lines().all(|line| line.chars().count() <= crate::cli::screen::COLUMNS));
        insta::assert_snapshot!(screen);
        insta::assert_snapshot!("the_list_as_json", serde_json::to_string_pretty(&lines()).unwrap());
    }
}
