//! `longshore parked`: how many records wait for which parents.

use std::process::ExitCode;

use super::Which;
use crate::cli::screen::{Align, Table, ago, clean, number, plural, size, wrapped};
use crate::cli::select;
use crate::clock::UnixMs;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::{Ledger, ParkedGroup};

/// How many groups are shown unless `--limit` says otherwise.
const LIMIT: usize = 30;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
// Else it would be a second group of the same name beside that of its parent.
#[group(skip)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// No more than this many groups, the largest first
    #[arg(long, value_name = "N", default_value_t = LIMIT)]
    limit: usize,
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let groups = inbox.parked_groups(args.which.selector(Some(args.limit))).await?;
    select::tell(args.json, &groups, || screen(&groups, args.limit, select::now()))?;
    Ok(ExitCode::SUCCESS)
}

fn screen(groups: &[ParkedGroup], limit: usize, now: UnixMs) -> String {
    if groups.is_empty() {
        return "nothing is parked\n".to_owned();
    }
    let columns = [
        ("parked", Align::Right),
        ("size", Align::Right),
        ("route to sink", Align::Flexible),
        ("the oldest since", Align::Right),
        ("its time is up", Align::Right),
    ];
    let mut table = Table::new(0, &columns);
    for group in groups {
        table.row([
            number(group.records),
            size(group.bytes),
            clean(&format!("{} to {}", group.target.route, group.target.sink)),
            ago(group.oldest, now),
            ago(group.deadline, now),
        ]);
    }
    let mut text = table.lines(|row| Some(wrapped("    for ", &clean(&groups[row].missing))));
    let records = groups.iter().map(|group| group.records).sum();
    let all = format!("{} for {}", plural(records, "record"), plural(groups.len() as u64, "missing parent"));
    text.push_str(&if groups.len() == limit {
        format!("{all}: the largest groups, there may be more (--limit)\n")
    } else {
        format!("{all}\n")
    });
    text.push_str("next: longshore parked list | release, longshore entities known KEY\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::NOW;
    use crate::cli::parked::fixture::groups;

    #[test]
    fn what_is_parked_is_told_by_what_is_missing() {
        let screen = screen(&groups(), LIMIT, NOW);
        assert!(screen.lines().all(|line| line.chars().count() <= crate::cli::screen::COLUMNS));
        insta::assert_snapshot!(screen);
        insta::assert_snapshot!("groups_as_json", serde_json::to_string_pretty(&groups()).unwrap());
    }

    #[test]
    fn nothing_and_more_than_fits_are_said() {
        assert_eq!(screen(&[], LIMIT, NOW), "nothing is parked\n");
        assert!(screen(&groups(), groups().len(), NOW).contains("there may be more (--limit)"));
    }
}
