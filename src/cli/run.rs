//! `longshore run`, `listen` and `work`: the daemon, whole or in halves.

use std::process::ExitCode;
use std::sync::Arc;

use crate::clock::SystemClock;
use crate::daemon::{self, Duty};
use crate::ops::Context;
use crate::worker::Until;

use super::Global;
use super::exit::Exit;

/// What `longshore run` and `longshore listen` can be told.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What `longshore work` can be told.
#[derive(Debug, clap::Args)]
pub struct WorkArgs {
    /// End once nothing stored is left to do
    #[arg(long)]
    pub until_empty: bool,
}

/// Hears and works until it is stopped.
///
/// # Errors
/// When the configuration is wrong or the parts cannot be put together.
pub fn run(_args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    daemon(global, Duty::Both)
}

/// Hears until it is stopped.
///
/// # Errors
/// As [`run`].
pub fn listen(_args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    daemon(global, Duty::Listen)
}

/// Works until it is stopped, or until nothing is left.
///
/// # Errors
/// As [`run`].
pub fn work(args: WorkArgs, global: &Global) -> anyhow::Result<ExitCode> {
    daemon(global, Duty::Work(if args.until_empty { Until::Empty } else { Until::Stopped }))
}

fn daemon(global: &Global, duty: Duty) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    global.log(&config.log)?;
    super::runtime(config.threads)?.block_on(async {
        let stop = daemon::stop_on_signals()?;
        let context = Context::new(Arc::new(SystemClock));
        daemon::run(config, duty, context, stop).await?;
        Ok(Exit::Ok.into())
    })
}
