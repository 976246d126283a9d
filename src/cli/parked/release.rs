//! `longshore parked release`: lets records go without their parents.

use std::process::ExitCode;

use serde::Serialize;

use super::Which;
use crate::cli::screen::{number, plural};
use crate::cli::select;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::{Ledger, ParkedGroup, ParkedSelector};

/// Groups that are counted before a release is agreed to; a count without end would keep a person waiting.
const GROUPS_COUNTED_MAX: usize = 10_000;

/// Groups that are named before a release is agreed to.
const GROUPS_NAMED_MAX: usize = 5;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Everything that is parked
    #[arg(long)]
    all: bool,
    /// Say what would be let go, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: select::Consent,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was done, for programs.
#[derive(Clone, Debug, Serialize)]
struct Report {
    /// Records that were let go, or would be.
    records: u64,
    /// Whether there are more than those that were counted; only in a dry run.
    at_least: bool,
    dry_run: bool,
    daemon_is_running: bool,
    #[serde(skip)]
    largest: Vec<ParkedGroup>,
}

pub(super) async fn run(args: Args, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let how = "say which, such as --entity item or --missing sku=123";
    select::all_or_some(args.all, args.which.is_everything(), how)?;
    let selector = args.which.selector(None);
    let mut report = plan(inbox, &selector).await?;
    if args.dry_run || report.records == 0 {
        return tell(&Report { dry_run: args.dry_run, ..report }, args.json);
    }
    args.consent.to("release", false, args.json, || planned(&report))?;
    (report.records, report.at_least) = (0, false);
    let mut after = 0;
    loop {
        let step = inbox.release(selector.clone(), after).await?;
        report.records += step.released;
        after = step.last;
        if step.finished {
            break;
        }
    }
    report.daemon_is_running = inbox.summary().await?.daemons.iter().any(|daemon| daemon.alive);
    tell(&report, args.json)
}

/// What would be let go, as far as a look can tell.
async fn plan(inbox: &SqliteInbox, selector: &ParkedSelector) -> anyhow::Result<Report> {
    let selector = ParkedSelector { limit: Some(GROUPS_COUNTED_MAX), ..selector.clone() };
    let mut groups = inbox.parked_groups(selector).await?;
    let (records, at_least) = (groups.iter().map(|group| group.records).sum(), groups.len() == GROUPS_COUNTED_MAX);
    groups.truncate(GROUPS_NAMED_MAX + 1);
    Ok(Report { records, at_least, dry_run: false, daemon_is_running: false, largest: groups })
}

fn tell(report: &Report, json: bool) -> anyhow::Result<ExitCode> {
    select::tell(json, report, || screen(report))?;
    Ok(ExitCode::SUCCESS)
}

/// What a person agrees to.
fn planned(report: &Report) -> String {
    let at_least = if report.at_least { "at least " } else { "" };
    let mut text =
        format!("{at_least}{} would be delivered without what is missing:\n", plural(report.records, "record"));
    for group in report.largest.iter().take(GROUPS_NAMED_MAX) {
        let line = format!(
            "  {} by {} to {} for {}",
            number(group.records),
            group.target.route,
            group.target.sink,
            group.missing
        );
        text.push_str(&crate::cli::screen::cut(&crate::cli::screen::clean(&line), crate::cli::screen::COLUMNS));
        text.push('\n');
    }
    if report.largest.len() > GROUPS_NAMED_MAX {
        text.push_str("  and for others\n");
    }
    text
}

fn screen(report: &Report) -> String {
    if report.records == 0 {
        return "nothing that is parked is meant by this\n".to_owned();
    }
    if report.dry_run {
        return planned(report);
    }
    let what = format!("{} let go", plural(report.records, "record"));
    if report.daemon_is_running {
        format!("{what}: the daemon is delivering them now\n")
    } else {
        format!("{what}; no daemon is running: `longshore run` or `longshore work --until-empty` will deliver them\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parked::fixture::groups;

    #[test]
    fn a_release_says_what_it_lets_go() {
        let mut report = Report {
            records: 1_204,
            at_least: true,
            dry_run: true,
            daemon_is_running: true,
            largest: groups().into_iter().cycle().take(GROUPS_NAMED_MAX + 1).collect(),
        };
        insta::assert_snapshot!("dry_run", screen(&report));
        (report.dry_run, report.at_least) = (false, false);
        insta::assert_snapshot!("done", screen(&report));
        insta::assert_snapshot!("json", serde_json::to_string_pretty(&report).unwrap());
        report.daemon_is_running = false;
        insta::assert_snapshot!("done_without_a_daemon", screen(&report));
        report.records = 0;
        insta::assert_snapshot!("nothing", screen(&report));
    }
}
