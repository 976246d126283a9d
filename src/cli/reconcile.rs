//! `longshore reconcile`: what the exports held that the webhooks had not brought, by day.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::Global;
use super::screen::{Align, Table, clean, number, plural, wrapped};
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
pub(super) struct Compared {
    export: String,
    webhook: String,
    days: Vec<Gap>,
}

/// Shows what was missing, and delivered from the exports.
///
/// # Errors
/// When the configuration is wrong or the inbox cannot be read.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let all = super::runtime(1)?.block_on(compared(global, args.limit))?;
    select::tell(args.json, &all, || screen(&all))?;
    Ok(ExitCode::SUCCESS)
}

/// The gaps of every export, up to a number of lines each, the latest days first.
pub(super) async fn compared(global: &Global, limit: usize) -> anyhow::Result<Vec<Compared>> {
    let (config, inbox) = select::open_inbox(global)?;
    let mut all = Vec::new();
    for one in &config.reconciles {
        let days = inbox.gaps(one.export.clone(), limit).await?;
        all.push(Compared { export: one.export.to_string(), webhook: one.webhook.to_string(), days });
    }
    Ok(all)
}

/// For a screen with much else on it: the days on which something was missing, and what waits; nothing where nothing is
/// reconciled.
pub(super) fn in_short(all: &[Compared]) -> String {
    let mut out = String::new();
    for one in all {
        let mut told: Vec<String> = one.days.iter().filter(|gap| gap.missing > 0).map(missing).collect();
        let waiting = one.days.iter().map(|gap| gap.waiting).sum();
        if told.is_empty() && one.days.iter().all(|gap| gap.known == 0) {
            told.push("nothing was compared yet".to_owned());
        } else if told.is_empty() {
            told.push("nothing was missing on the latest days".to_owned());
        }
        if waiting > 0 {
            told.push(format!("{} still to compare", plural(waiting, "file")));
        }
        let text = format!("{} against {}: {}", clean(&one.export), clean(&one.webhook), told.join("; "));
        out.push_str(&wrapped("reconciled      ", &(text + "; see `longshore reconcile`")));
    }
    if out.is_empty() { out } else { format!("\n{out}") }
}

fn missing(gap: &Gap) -> String {
    let all = gap.known + gap.missing;
    format!(
        "{} {} of {} were missing ({} to {})",
        clean(&gap.day),
        number(gap.missing),
        number(all),
        clean(gap.route.as_str()),
        clean(gap.sink.as_str())
    )
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
        if one.days.iter().all(|gap| gap.known == 0) && one.days.iter().any(|gap| gap.missing > 0) {
            let doubt = "nothing was known at all: did the webhook bring nothing, or are the same events not found? `record` of \
                 the export has to lead to the payload that the webhook brings, `id` and `version` count from there, and \
                 `names` has to hold the names of both";
            out.push_str(&wrapped("  ", doubt));
        }
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
        insta::assert_snapshot!("the_latest_days_in_short", in_short(&compared()));
        assert_eq!(in_short(&[]), "");
    }

    #[test]
    fn a_gap_without_anything_known_is_told_with_what_may_be_wrong() {
        let mut all = compared();
        assert!(!screen(&all).contains("nothing was known at all"));
        all[0].days.iter_mut().for_each(|gap| gap.known = 0);
        assert!(screen(&all).contains("nothing was known at all: did the webhook bring nothing"), "{}", screen(&all));
    }
}
