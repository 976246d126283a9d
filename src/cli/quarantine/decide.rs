//! `longshore quarantine release` and `discard`: what becomes of what was set aside.

use std::process::ExitCode;

use serde::Serialize;

use super::{Pages, Which};
use crate::cli::exit::Exit;
use crate::cli::screen::{number, plural};
use crate::cli::select;
use crate::config::Config;
use crate::inbox::SqliteInbox;
use crate::inbox::ledger::{Aside, AsideKind, AsideSelector, Decided, Decision, Ledger, Quarantine, RunKind};
use crate::notice::{Metadata, Notice};
use crate::route::Router;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Everything that was set aside
    #[arg(long)]
    all: bool,
    /// Say what would be done, and do nothing
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
    decision: RunKind,
    /// `None` when nothing was done.
    run: Option<i64>,
    dry_run: bool,
    #[serde(flatten)]
    done: Decided,
    daemon_is_running: bool,
}

pub(super) async fn release(args: Args, config: &Config, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    // Who names what goes on has agreed to it.
    let is_agreed = !args.which.which.is_empty();
    let router = crate::daemon::router(config).map_err(Exit::Config.because())?;
    decide(RunKind::Release, args, is_agreed, &router, inbox).await
}

pub(super) async fn discard(args: Args, config: &Config, inbox: &SqliteInbox) -> anyhow::Result<ExitCode> {
    let router = crate::daemon::router(config).map_err(Exit::Config.because())?;
    decide(RunKind::Discard, args, false, &router, inbox).await
}

/// What becomes of a thing: one that the configuration in force still sends the same way goes on, so that its sink knows
/// what it has of it already; another is planned anew.
fn decision(kind: RunKind, router: &Router, thing: &Aside) -> Decision {
    if kind == RunKind::Discard {
        return Decision::Discard;
    }
    let notice = Notice {
        id: thing.id.notice,
        feed: thing.feed.clone(),
        dedupe_key: String::new(),
        metadata: Metadata { blob_type: thing.blob_type.clone(), ..Metadata::default() },
        body: None,
        published: thing.published,
        sequence: 0,
        stored: thing.published,
    };
    let is_wanted = thing.target.as_ref().is_some_and(|target| router.plan(&notice).targets.contains(target));
    if is_wanted { Decision::GoOn } else { Decision::PlanAnew }
}

async fn decide(
    kind: RunKind,
    args: Args,
    is_agreed: bool,
    router: &Router,
    inbox: &SqliteInbox,
) -> anyhow::Result<ExitCode> {
    select::all_or_some(args.all, args.which.is_everything(), "name some, such as 42 or 42/17")?;
    let selector = args.which.selector(select::now());
    let plan = plan(kind, &selector, router, inbox).await?;
    if !args.which.which.is_empty() && plan == Decided::default() {
        let none = "nothing of what is named is in quarantine: `longshore quarantine list` shows what is";
        return Err(anyhow::anyhow!(none)).map_err(Exit::Usage.because());
    }
    let mut report = Report { decision: kind, run: None, dry_run: args.dry_run, done: plan, daemon_is_running: false };
    if args.dry_run || plan.deliveries + plan.records == 0 {
        return tell(&report, args.json);
    }
    args.consent.to(kind.as_str(), is_agreed, args.json, || planned("", &report))?;
    let run = inbox.decide(kind, selector.clone()).await?;
    report.run = Some(run.0);
    report.done = Decided::default();
    for mut pages in passes(&selector, inbox) {
        loop {
            let page = pages.next_whole().await?;
            if page.is_empty() {
                break;
            }
            for one in [Decision::GoOn, Decision::PlanAnew, Decision::Discard] {
                let these = page.iter().filter(|thing| decision(kind, router, thing) == one);
                let these: Vec<_> = these.map(|thing| thing.id).collect();
                if !these.is_empty() {
                    report.done = report.done.and(inbox.decide_on(run, one, these).await?);
                }
            }
        }
    }
    report.daemon_is_running = inbox.summary().await?.daemons.iter().any(|daemon| daemon.alive);
    tell(&report, args.json)
}

/// Whole deliveries first: with one that is decided on, its records are out of the way.
fn passes<'a>(selector: &AsideSelector, inbox: &'a SqliteInbox) -> Vec<Pages<'a>> {
    let kinds = [AsideKind::Notices, AsideKind::Records].into_iter();
    kinds
        .filter(|kind| selector.only.is_none_or(|only| only == *kind))
        .map(|kind| Pages::new(inbox, AsideSelector { only: Some(kind), ..selector.clone() }, false))
        .collect()
}

/// What would be done, as far as a look can tell.
async fn plan(
    kind: RunKind,
    selector: &AsideSelector,
    router: &Router,
    inbox: &SqliteInbox,
) -> anyhow::Result<Decided> {
    let mut plan = Decided::default();
    for mut pages in passes(selector, inbox) {
        loop {
            let page = pages.next().await?;
            if page.is_empty() {
                break;
            }
            for thing in page {
                let field = match (thing.kind(), kind) {
                    (AsideKind::Notices, RunKind::Release) if thing.target.is_none() => &mut plan.unreadable,
                    (AsideKind::Notices, _) => &mut plan.deliveries,
                    (AsideKind::Records, _) if thing.ended.is_none() => &mut plan.unsettled,
                    (AsideKind::Records, RunKind::Release)
                        if !thing.goes_alone() || decision(kind, router, &thing) != Decision::GoOn =>
                    {
                        &mut plan.not_alone
                    }
                    (AsideKind::Records, _) => &mut plan.records,
                };
                *field += 1;
            }
        }
    }
    Ok(plan)
}

fn tell(report: &Report, json: bool) -> anyhow::Result<ExitCode> {
    select::tell(json, report, || screen(report))?;
    Ok(ExitCode::SUCCESS)
}

fn planned(head: &str, report: &Report) -> String {
    let done = &report.done;
    let mut text = if done.deliveries + done.records == 0 {
        format!("nothing to {}\n", report.decision)
    } else {
        let parts = [(done.deliveries, "whole delivery"), (done.records, "single record")];
        let parts: Vec<_> =
            parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, one)| plural(count, one)).collect();
        format!("{head}{}\n", parts.join(" and "))
    };
    for (count, why) in [
        (done.unreadable, "could not be read when heard, so that there is nothing to deliver"),
        (done.unsettled, "records of deliveries that are not done"),
        (
            done.not_alone,
            "records that could not be read, are kept cut off or go elsewhere by now (`longshore replay ID` delivers \
             their whole notice again)",
        ),
    ] {
        if count > 0 {
            text.push_str(&format!("  left alone, {why}: {}\n", number(count)));
        }
    }
    text
}

fn screen(report: &Report) -> String {
    let Some(run) = report.run else {
        return planned(&format!("would {} ", report.decision), report);
    };
    let mut text = planned(&format!("run {run}, {}: ", report.decision), report);
    text.push_str(match (report.decision, report.daemon_is_running) {
        (RunKind::Discard, _) => "they stay in the account, and in the history as long as the retention says\n",
        (_, true) => "the daemon is delivering them now; `longshore status` shows how far it is\n",
        (_, false) => "no daemon is running: `longshore run` or `longshore work --until-empty` will deliver them\n",
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(decision: RunKind, run: Option<i64>) -> Report {
        let done = Decided { deliveries: 3, records: 1_204, unreadable: 1, unsettled: 2, not_alone: 4 };
        Report { decision, run, dry_run: run.is_none(), done, daemon_is_running: true }
    }

    #[test]
    fn a_decision_says_its_run_and_what_it_left_alone() {
        insta::assert_snapshot!("release", screen(&report(RunKind::Release, Some(7))));
        insta::assert_snapshot!("discard", screen(&report(RunKind::Discard, Some(8))));
        insta::assert_snapshot!("dry_run", screen(&report(RunKind::Discard, None)));
        insta::assert_snapshot!("json", serde_json::to_string_pretty(&report(RunKind::Release, None)).unwrap());
    }

    #[test]
    fn nothing_to_do_is_said() {
        let done = Decided { not_alone: 1, ..Decided::default() };
        let report = Report { done, ..report(RunKind::Release, None) };
        insta::assert_snapshot!("nothing", screen(&report));
    }
}
