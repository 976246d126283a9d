//! `longshore feed`: what a source holds beside what the inbox has of it, and one thing of it taken by hand.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;

use super::Global;
use super::exit::Exit;
use crate::clock::SystemClock;
use crate::config::{Config, FeedKind};
use crate::error::{Class, Classify};
use crate::feed::bucket::{Bucket, ListError};
use crate::inbox::SqliteInbox;
use crate::notice::FeedName;

mod fetch;
mod list;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Show what a bucket holds, day by day, beside what the inbox has of it
    List(list::Args),
    /// Take one object of a bucket by hand, also one that the feed does not look for any more
    Fetch(fetch::Args),
}

/// Shows a source, or takes something of it.
///
/// # Errors
/// When the configuration is wrong, the inbox cannot be used, or the source does not answer.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    // The secrets of the source are needed.
    let config = global.config()?;
    let inbox = SqliteInbox::open(&config.inbox, Arc::new(SystemClock))?;
    super::runtime(2)?.block_on(async {
        match args.command {
            Command::List(args) => list::run(args, &config, &inbox).await,
            Command::Fetch(args) => fetch::run(args, &config, &inbox).await,
        }
    })
}

/// The bucket of the feed that is named.
fn bucket(config: &Config, name: &str) -> anyhow::Result<(FeedName, Bucket)> {
    let Some(feed) = config.feeds.iter().find(|feed| feed.name.as_str() == name) else {
        let names: Vec<&str> = config.feeds.iter().map(|feed| feed.name.as_str()).collect();
        let said = anyhow!("there is no feed {name:?} in the configuration: {}", names.join(", "));
        return Err(said).map_err(Exit::Usage.because());
    };
    let FeedKind::Bucket { settings } = &feed.kind else {
        let said = anyhow!("the feed {name:?} is no bucket: what it has heard is in `longshore notices --feed {name}`");
        return Err(said).map_err(Exit::Usage.because());
    };
    Ok((feed.name.clone(), Bucket::new((**settings).clone(), crate::daemon::bucket(config, settings))))
}

/// How an error of the source ends.
fn ended(error: ListError) -> anyhow::Error {
    let exit = match error.class() {
        Class::Permanent => Exit::Config,
        _ => Exit::Unavailable,
    };
    exit.because()(error)
}
