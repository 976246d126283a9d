//! `longshore quarantine list`: one line for each thing.

use std::process::ExitCode;

use super::{Pages, Which, name, way};
use crate::cli::screen::{Align, Table, ago, clean, number, size, wrapped};
use crate::cli::select;
use crate::clock::UnixMs;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::Aside;

/// How many are listed unless `--limit` says otherwise.
const LIMIT: usize = 50;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let now = select::now();
    let mut selector = args.which.selector(now);
    let limit = *selector.notices.limit.get_or_insert(LIMIT);
    let mut pages = Pages::new(inbox, selector, false);
    let mut things = Vec::new();
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        things.extend(page);
    }
    select::tell(args.json, &things, || screen(&things, limit, now))?;
    Ok(ExitCode::SUCCESS)
}

fn screen(things: &[Aside], limit: usize, now: UnixMs) -> String {
    if things.is_empty() {
        return "nothing is set aside\n".to_owned();
    }
    let mut table = Table::new(
        0,
        &[
            ("id", Align::Left),
            ("class", Align::Left),
            ("published", Align::Right),
            ("blob type", Align::Flexible),
            ("route to sink", Align::Flexible),
            ("at byte", Align::Right),
            ("kept", Align::Right),
        ],
    );
    for thing in things {
        let kept = if thing.bytes_kept == 0 { "-".to_owned() } else { size(thing.bytes_kept) };
        table.row([
            name(thing.id),
            thing.class.to_string(),
            ago(thing.published, now),
            clean(&thing.blob_type),
            way(thing),
            thing.offset.map_or_else(|| "-".to_owned(), number),
            if thing.is_cut { format!("{kept}, cut") } else { kept },
        ]);
    }
    let mut text = table.lines(|row| Some(wrapped(&" ".repeat(10), &clean(&things[row].reason))));
    if things.len() == limit {
        text.push_str(&format!("the newest {}; there may be more (--limit)\n", number(limit as u64)));
    }
    text.push_str("`longshore quarantine show ID` shows one with its bytes\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::NOW;
    use crate::cli::quarantine::fixture::things;

    #[test]
    fn what_was_set_aside_is_listed_with_its_reason() {
        let screen = screen(&things(), 50, NOW);
        assert!(screen.lines().all(|line| line.chars().count() <= crate::cli::screen::COLUMNS));
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn the_list_as_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&things()).unwrap());
    }
}
