//! `longshore replay`: delivers again what is stored.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Global;
use super::exit::Exit;
use super::screen::{number, plural, size};
use super::select::{self, SelectorArgs};
use crate::inbox::InboxError;
use crate::inbox::ledger::{Ledger, Replay, ReplayPlan, Selector};
use crate::notice::RouteName;

/// Notices sent back in one commit: short enough that the daemon's own writes do not wait for it.
const NOTICES_A_STEP: usize = 500;

/// Steps a second when the rate is limited.
const STEPS_A_SECOND: u32 = 10;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "A replay sends notices back to the routes, as the configuration has them now. \
    Notices that are under way are left alone. The daemon, or `longshore work --until-empty`, does the work.")]
pub struct Args {
    #[command(flatten)]
    selector: SelectorArgs,
    /// Every stored notice
    #[arg(long, conflicts_with_all = ["ids", "correlation_id", "blob_type", "feed", "since", "until", "state", "route"])]
    all: bool,
    /// Deliver on this route only; without it, on those named by --route, or else on all
    #[arg(long, value_name = "NAME")]
    to: Vec<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Notices a second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    #[command(flatten)]
    consent: select::Consent,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct Report {
    /// `None` when nothing was done.
    run: Option<i64>,
    dry_run: bool,
    sent: u64,
    #[serde(flatten)]
    plan: ReplayPlan,
    daemon_is_running: bool,
}

/// Sends the selected notices back to the routes, under a run of its own.
///
/// # Errors
/// When nothing is selected, nobody agreed, the configuration is wrong, or the inbox cannot be written.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let selector = args.selector.selector(select::now());
    if !args.all && (Selector { limit: None, ..selector.clone() }).is_everything() {
        let hint = "name some, such as 42 or --since 2d, or give --all";
        return Err(anyhow::anyhow!("no notices are selected: {hint}")).map_err(Exit::Usage.because());
    }
    let (_, inbox) = select::open_inbox(global)?;
    super::runtime(1)?.block_on(async {
        let plan = inbox.replay_plan(selector.clone()).await?;
        let mut report = Report { run: None, dry_run: args.dry_run, sent: 0, plan, daemon_is_running: false };
        if args.dry_run || plan.notices == 0 {
            return tell(&report, &args);
        }
        args.consent.to("replay", is_named(&selector), args.json, || planned("", &plan))?;
        let to =
            if args.to.is_empty() { selector.routes.clone() } else { args.to.iter().map(RouteName::new).collect() };
        let mut replay = inbox.replay_start(selector, to).await?;
        report.run = Some(replay.run.0);
        report.sent = send(&inbox, &mut replay, plan.notices, args.rate).await?;
        report.daemon_is_running = inbox.summary().await?.daemons.iter().any(|daemon| daemon.alive);
        tell(&report, &args)
    })
}

/// Whether notices were named one by one, so that there is nothing to ask.
fn is_named(selector: &Selector) -> bool {
    !selector.ids.is_empty()
}

async fn send(inbox: &impl Ledger, replay: &mut Replay, notices: u64, rate: Option<u32>) -> Result<u64, InboxError> {
    let bar = ProgressBar::with_draw_target(Some(notices), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg}  {wide_bar}  {human_pos} of {human_len}  {eta}");
    bar.set_style(style.expect("the template is valid"));
    bar.set_message(format!("run {}", replay.run.0));
    let mut pace = Pace::new(rate);
    let mut sent = 0;
    loop {
        let step = inbox.replay_more(replay, pace.next().await).await?;
        if step.finished {
            bar.finish_and_clear();
            return Ok(sent);
        }
        sent += step.sent;
        bar.set_position(sent);
    }
}

/// Hands out how many notices may be sent, and waits in between.
struct Pace {
    ticks: Option<tokio::time::Interval>,
    rate: u32,
    tick: u32,
}

impl Pace {
    fn new(rate: Option<u32>) -> Self {
        let ticks = rate.map(|rate| {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.min(STEPS_A_SECOND));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks, rate: rate.unwrap_or(0), tick: 0 }
    }

    /// Never more than `rate` in any second of equal steps, and exactly `rate` in each whole one.
    async fn next(&mut self) -> usize {
        let Some(ticks) = &mut self.ticks else {
            return NOTICES_A_STEP;
        };
        ticks.tick().await;
        let steps = self.rate.min(STEPS_A_SECOND);
        let (before, after) = (share(self.rate, self.tick, steps), share(self.rate, self.tick + 1, steps));
        self.tick = (self.tick + 1) % steps;
        (after - before) as usize
    }
}

/// What is due after `tick` of `steps` ticks.
fn share(rate: u32, tick: u32, steps: u32) -> u64 {
    u64::from(rate) * u64::from(tick) / u64::from(steps)
}

fn tell(report: &Report, args: &Args) -> anyhow::Result<ExitCode> {
    select::tell(args.json, report, || screen(report))?;
    Ok(ExitCode::SUCCESS)
}

fn planned(verb: &str, plan: &ReplayPlan) -> String {
    if plan.notices == 0 {
        return "nothing to replay\n".to_owned() + &left_alone(plan);
    }
    let mut text = format!(
        "{verb}{} ({} and {} when last delivered)\n",
        plural(plan.notices, "notice"),
        plural(plan.records, "record"),
        size(plan.bytes)
    );
    if plan.never_delivered > 0 {
        text.push_str(&format!("  never delivered, of unknown size: {}\n", number(plan.never_delivered)));
    }
    text + &left_alone(plan)
}

fn left_alone(plan: &ReplayPlan) -> String {
    let mut text = String::new();
    if plan.under_way > 0 {
        text.push_str(&format!("  left alone, under way anyhow: {}\n", number(plan.under_way)));
    }
    if plan.unreadable > 0 {
        text.push_str(&format!("  left alone, could not be read when heard: {}\n", number(plan.unreadable)));
    }
    text
}

fn screen(report: &Report) -> String {
    let Some(run) = report.run else {
        return planned("would replay ", &report.plan);
    };
    let mut text = planned(&format!("run {run}: "), &report.plan);
    if report.sent != report.plan.notices {
        // Others may replay, finish or prune at the same time.
        text.push_str(&format!("  sent, as it turned out: {}\n", number(report.sent)));
    }
    text.push_str(if report.daemon_is_running {
        "the daemon is delivering them now; `longshore status` shows how far it is\n"
    } else {
        "no daemon is running: `longshore run` or `longshore work --until-empty` will deliver them\n"
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(run: Option<i64>) -> Report {
        let plan = ReplayPlan {
            notices: 1200,
            bytes: 3 << 30,
            records: 9_876_543,
            never_delivered: 1,
            under_way: 2,
            unreadable: 1,
        };
        Report { run, dry_run: run.is_none(), sent: 1198, plan, daemon_is_running: true }
    }

    #[test]
    fn a_replay_says_its_run_and_what_it_left_alone() {
        insta::assert_snapshot!(screen(&report(Some(7))));
    }

    #[test]
    fn a_dry_run_says_what_would_be_done() {
        insta::assert_snapshot!(screen(&report(None)));
        insta::assert_snapshot!("replay_json", serde_json::to_string_pretty(&report(None)).unwrap());
    }

    #[test]
    fn an_empty_replay_says_so() {
        let report = Report { plan: ReplayPlan::default(), sent: 0, ..report(None) };
        insta::assert_snapshot!(screen(&report));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_each_second() {
        for rate in [1, 3, 10, 11, 1007] {
            let mut pace = Pace::new(Some(rate));
            let started = tokio::time::Instant::now();
            let mut sent = 0;
            while sent < rate as usize * 3 {
                sent += pace.next().await;
            }
            assert_eq!(sent, rate as usize * 3);
            let seconds = started.elapsed().as_secs_f64();
            assert!((2.0..=3.0).contains(&seconds), "{rate} a second took {seconds}");
        }
        assert_eq!(Pace::new(None).next().await, NOTICES_A_STEP);
    }
}
