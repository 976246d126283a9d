//! `longshore run`, `listen` and `work`: the daemon, whole or in halves.

use std::process::ExitCode;
use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::daemon::{self, Duty};
use crate::ops::Context;
use crate::worker::{Ended, Until};

use super::Global;
use super::exit::Exit;
use super::screen::plural;

/// What `longshore run` and `longshore listen` can be told.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What `longshore work` can be told.
#[derive(Debug, clap::Args)]
pub struct WorkArgs {
    /// End once nothing stored is left to do
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

/// Works until it is stopped, or until nothing is left. With an end asked for, work that has to wait for its hours or for a
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
            Ended::Stopped | Ended::Empty => Exit::Ok,
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
