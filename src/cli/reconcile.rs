//! `longshore reconcile`: what the exports held that the webhooks had not brought, by day.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::Global;
use super::screen::{Align, Table, clean, number};
use super::select;
use crate::inbox::ledger::{Gap, Ledger};

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// No more than so many lines of each export, the latest days first
    #[arg(long, value_name = "N", default_value_t = 30)]
    limit: usize,
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

/// One export and what it is compared with.
#[derive(Debug, Serialize)]
struct Compared {
    export: String,
    webhook: String,
    days: Vec<Gap>,
}

/// Shows what was missing, and delivered from the exports.
///
/// # Errors
/// When the configuration is wrong or the inbox cannot be read.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let (config, inbox) = select::open_inbox(global)?;
    let runtime = super::runtime(config.threads.min(1))?;
    let mut all = Vec::new();
    for one in &config.reconciles {
        let days = runtime.block_on(inbox.gaps(one.export.clone(), args.limit))?;
        all.push(Compared { export: one.export.to_string(), webhook: one.webhook.to_string(), days });
    }
    if args.json {
        select::print_json(&all)?;
    } else {
        select::print(&screen(&all))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn screen(all: &[Compared]) -> String {
    if all.is_empty() {
        return "nothing is reconciled: there is no [[reconcile]] in the configuration\n".to_owned();
    }
    let mut out = String::new();
    for one in all {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} compared with what {} brought", clean(&one.export), clean(&one.webhook));
        if one.days.is_empty() {
            out.push_str("  no file was heard of yet\n");
            continue;
        }
        let mut table = Table::new(
            2,
            &[
                ("day", Align::Left),
                ("route", Align::Flexible),
                ("sink", Align::Flexible),
                ("files", Align::Right),
                ("waiting", Align::Right),
                ("known", Align::Right),
                ("missing", Align::Right),
            ],
        );
        for gap in &one.days {
            table.row([
                clean(&gap.day),
                clean(gap.route.as_str()),
                clean(gap.sink.as_str()),
                number(gap.files),
                number(gap.waiting),
                number(gap.known),
                number(gap.missing),
            ]);
        }
        out.push_str(&table.lines(|_| None));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notice::{RouteName, SinkName};

    fn compared() -> Vec<Compared> {
        let gap = |day: &str, waiting, known, missing| Gap {
            day: day.to_owned(),
            route: RouteName::new("orders"),
            sink: SinkName::new("database"),
            files: 24,
            waiting,
            known,
            missing,
        };
        let days =
            vec![gap("2026-03-02", 24, 0, 0), gap("2026-03-01", 0, 81_204, 1_377), gap("2026-02-28", 0, 79_000, 0)];
        let of = |export: &str, days| Compared { export: export.to_owned(), webhook: "fft".to_owned(), days };
        vec![of("fft-export", days), of("other-export", Vec::new())]
    }

    #[test]
    fn the_gap_of_each_day_is_told() {
        insta::assert_snapshot!(screen(&compared()));
        insta::assert_snapshot!("reconcile_json", serde_json::to_string_pretty(&compared()).unwrap());
        insta::assert_snapshot!("nothing_is_reconciled", screen(&[]));
    }
}
