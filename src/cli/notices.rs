//! `longshore notices`: the stored notices in a list.

use std::process::ExitCode;

use super::Global;
use super::screen::{Align, Table, ago, clean, number, second, wrapped};
use super::select::{self, SelectorArgs};
use crate::clock::UnixMs;
use crate::inbox::ledger::{Ledger, NoticeLine};

/// How many are listed unless `--limit` says otherwise.
const LIMIT: usize = 50;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selector: SelectorArgs,
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

/// Lists the selected notices, newest first.
///
/// # Errors
/// When the configuration is wrong or the inbox cannot be read.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (config, inbox) = select::open_inbox(global)?;
    let now = select::now();
    let mut selector = args.selector.selector(now);
    let limit = *selector.limit.get_or_insert(LIMIT);
    let lines = super::runtime(config.threads.min(1))?.block_on(inbox.notices(selector))?;
    select::tell(args.json, &lines, || screen(&lines, limit, now))?;
    Ok(ExitCode::SUCCESS)
}

fn screen(lines: &[NoticeLine], limit: usize, now: UnixMs) -> String {
    if lines.is_empty() {
        return "no notices\n".to_owned();
    }
    let mut table = Table::new(
        0,
        &[
            ("id", Align::Right),
            ("state", Align::Left),
            ("published", Align::Left),
            ("", Align::Right),
            ("blob type", Align::Flexible),
            ("feed", Align::Flexible),
            ("read", Align::Right),
            ("delivered", Align::Right),
        ],
    );
    for line in lines {
        let records = |count| if line.deliveries == 0 { "-".to_owned() } else { number(count) };
        table.row([
            line.id.to_string(),
            line.state.to_string(),
            second(line.published),
            ago(line.published, now),
            clean(&line.blob_type),
            line.woken_from.map_or_else(|| line.feed.to_string(), |origin| format!("woken from {origin}")),
            records(line.counts.read),
            records(line.counts.delivered),
        ]);
    }
    let mut text = table.lines(|row| {
        let reason = lines[row].reason.as_deref()?;
        Some(wrapped(&" ".repeat(10), &clean(reason)))
    });
    if lines.len() == limit {
        text.push_str(&format!("the newest {}; there may be more (--limit)\n", number(limit as u64)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::{NOW, notice_lines};

    #[test]
    fn the_list_is_calm_and_aligned() {
        insta::assert_snapshot!(screen(&notice_lines(), 50, NOW));
        insta::assert_snapshot!("notices_limit", screen(&notice_lines()[..2], 2, NOW));
        assert_eq!(screen(&[], 50, NOW), "no notices\n");
    }

    #[test]
    fn the_list_as_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&notice_lines()[..2]).unwrap());
    }
}
