//! `longshore run`, `listen` and `work`: the daemon, whole or in halves.

use std::process::ExitCode;
use std::sync::Arc;

use crate::clock::{SystemClock, UnixMs};
use crate::config::Config;
use crate::daemon::{self, Duty};
use crate::inbox::ledger::{Ledger, Summary};
use crate::ops::Context;
use crate::worker::{Ended, Until};

use super::Global;
use super::exit::Exit;
use super::screen::{clean, moment, plural, wrapped};
use super::select;

/// What `longshore run` and `longshore listen` can be told.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What `longshore work` can be told.
#[derive(Debug, clap::Args)]
pub struct WorkArgs {
    /// End once nothing stored is left to do
    ///
    /// What is due within ten minutes (or `retry_max` of [work], if that is longer), such as the next attempt of what failed, is
    /// waited for. If all that is left is due later, such as an export that `settle_after` holds back, this ends with exit
    /// code 75 and says what waits until when. As well outside the hours of work, behind what was set aside, and when it is
    /// stopped before all is done.
    #[arg(long)]
    pub until_empty: bool,
    /// Work outside the hours of `[work] windows` too
    #[arg(long)]
    pub now: bool,
}

/// Hears and works until it is stopped.
///
/// # Errors
/// When the configuration is wrong or the parts cannot be put together.
pub fn run(_args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    daemon(global, global.config()?, Duty::Both)
}

/// Hears until it is stopped.
///
/// # Errors
/// As [`run`].
pub fn listen(_args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    daemon(global, global.config()?, Duty::Listen)
}

/// Works until it is stopped, or until nothing is left. With an end asked for, work that has to wait long, for its hours or for a
/// person ends as [`Exit::Later`]: the hours protect somebody, and a command that waits for them in silence helps nobody.
///
/// # Errors
/// As [`run`].
pub fn work(args: WorkArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let mut config = global.config()?;
    if args.now {
        config.work.windows.clear();
    }
    daemon(global, config, Duty::Work(if args.until_empty { Until::Empty } else { Until::Stopped }))
}

fn daemon(global: &Global, config: Config, duty: Duty) -> anyhow::Result<ExitCode> {
    global.log(&config.log)?;
    super::runtime(config.threads)?.block_on(async {
        let stop = daemon::stop_on_signals()?;
        let context = Context::new(Arc::new(SystemClock));
        let ended = daemon::run(config, duty, context, stop).await?;
        Ok(match ended {
            Ended::Stopped if duty == Duty::Work(Until::Empty) => {
                let left = left(&select::open_inbox(global)?.1.summary().await?);
                left.map_or(Exit::Ok, |said| {
                    eprintln!("{said}");
                    Exit::Later
                })
            }
            Ended::Stopped | Ended::Empty => Exit::Ok,
            Ended::Waits(due) => {
                eprint!("{}", waits(due, &select::open_inbox(global)?.1.summary().await?));
                Exit::Later
            }
            Ended::OutsideHours => {
                eprintln!(
                    "outside the hours of `windows` in [work]: what is left waits; --now works on it all the same"
                );
                Exit::Later
            }
            Ended::LanesStopped(lanes) => {
                let hint = "decide with `longshore quarantine`";
                eprintln!("what is left waits behind what was set aside, in {}: {hint}", plural(lanes, "lane"));
                Exit::Later
            }
        }
        .into())
    })
}

/// What a stop came before, if anything: who waited for all of it is not to take it for done.
fn left(summary: &Summary) -> Option<String> {
    let deliveries = summary.routes.iter().map(|route| route.ready + route.claimed + route.waiting).sum::<u64>();
    let heard = summary.notices.heard;
    let mut left = Vec::new();
    if deliveries > 0 {
        left.push(plural(deliveries, "delivery"));
    }
    if heard > 0 {
        left.push(format!("{} without a plan yet", plural(heard, "notice")));
    }
    (!left.is_empty()).then(|| format!("stopped before all was done: {} left; run this again", left.join(" and ")))
}

/// What still waits, and until when.
fn waits(due: UnixMs, summary: &Summary) -> String {
    let mut out =
        format!("what is left waits, until {} at the earliest; run this again then:\n", moment(due, summary.at));
    for route in summary.routes.iter().filter(|route| route.waiting + route.ready > 0) {
        let files = plural(route.waiting + route.ready, "delivery");
        let why = route.error.as_deref().map_or(String::new(), |why| format!("; {}", clean(why)));
        out.push_str(&wrapped("  ", &format!("{}: {files}{why}", clean(route.route.as_str()))));
    }
    out
}
