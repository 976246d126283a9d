//! `longshore subscriptions`: what a vendor is to send to a webhook, held against what it is told to send.
//!
//! | subcommand | |
//! |---|---|
//! | `list` | every subscription that the vendor has, and whose it is |
//! | `plan` | what is to be made, replaced and deleted; ends with 75 if anything is |
//! | `apply` | does that; asks first |

use std::process::ExitCode;
use std::sync::Arc;

use super::Global;
use super::exit::Exit;
use crate::clock::SystemClock;
use crate::config::{Config, FeedKind, LogFormat, LogSettings};
use crate::feed::webhook::subscriptions::{self, Api, Choices, Plan, SubscriptionsSettings, Terms, Told};
use crate::notice::FeedName;

mod apply;
#[cfg(test)]
mod fixture;
mod list;
mod plan;

/// What can be typed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// List what the vendor has, and whose it is
    List(list::Args),
    /// Say what is to be made, replaced and deleted; the exit code is 75 if anything is
    Plan(plan::Args),
    /// Make, replace and delete what the plan says
    Apply(apply::Args),
}

/// Which feeds are meant.
#[derive(Clone, Debug, Default, clap::Args)]
struct Which {
    /// Only these feeds; all that have subscriptions otherwise
    #[arg(value_name = "FEED")]
    feeds: Vec<String>,
}

/// What else can be said about the way from what there is to what is wanted.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
struct Way {
    /// Replace all of ours, also those that seem to be as wanted
    #[arg(long)]
    rotate: bool,
    /// Where the vendor has no room for both, delete the old one before the new one is made: what happens in between is
    /// lost
    #[arg(long)]
    allow_gap: bool,
}

impl From<Way> for Choices {
    fn from(way: Way) -> Self {
        Self { rotate: way.rotate, allow_gap: way.allow_gap }
    }
}

/// Looks at the subscriptions, or changes them.
///
/// # Errors
/// When the configuration is wrong, the vendor does not answer, or nobody agreed to a change.
pub fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    global.log(&LogSettings { format: LogFormat::Text, level: "warn".to_owned() })?;
    super::runtime(1)?.block_on(async {
        match args.command {
            Command::List(args) => list::run(args, &config).await,
            Command::Plan(args) => plan::run(args, &config).await,
            Command::Apply(args) => apply::run(args, &config).await,
        }
    })
}

/// The subscriptions of one feed, and the way to the vendor that has them.
struct Subscribed<'c> {
    feed: &'c FeedName,
    settings: &'c SubscriptionsSettings,
    terms: Terms,
    api: Api,
}

impl Which {
    /// The feeds that are meant.
    fn of<'c>(&self, config: &'c Config) -> anyhow::Result<Vec<Subscribed<'c>>> {
        let clock = Arc::new(SystemClock);
        let mut found = Vec::new();
        for feed in &config.feeds {
            let FeedKind::Webhook { settings: webhook } = &feed.kind else { continue };
            let Some(settings) = webhook.subscriptions.as_deref() else { continue };
            if self.feeds.is_empty() || self.feeds.iter().any(|name| name == feed.name.as_str()) {
                let terms = Terms::new(settings, webhook.sender.secret.as_ref())?;
                let api = subscriptions::api(settings, clock.clone())?;
                found.push(Subscribed { feed: &feed.name, settings, terms, api });
            }
        }
        let known = |name: &&String| !found.iter().any(|subscribed| subscribed.feed.as_str() == name.as_str());
        let error = match self.feeds.iter().find(known) {
            Some(unknown) => anyhow::anyhow!("there is no webhook {unknown:?} with [feed.subscriptions]"),
            None if found.is_empty() => {
                anyhow::anyhow!("no webhook in {} has [feed.subscriptions]", config.path.display())
            }
            None => return Ok(found),
        };
        Err(error).map_err(Exit::Config.because())
    }
}

/// Makes it so for every feed, without a word.
///
/// # Errors
/// When the vendor does not answer, or has no room.
#[cfg(feature = "sandbox")]
pub(super) async fn make_so(config: &Config) -> anyhow::Result<()> {
    for one in Which::default().of(config)? {
        let (before, plan) = one.plan(Choices::default()).await?;
        subscriptions::apply(&one.api, &plan, &one.terms, &before, drop).await?;
    }
    Ok(())
}

impl Subscribed<'_> {
    /// What the vendor has, and what is to be done about it.
    async fn plan(&self, choices: Choices) -> anyhow::Result<(Vec<Told>, Plan)> {
        let all = self.api.list().await?;
        let plan = Plan::new(&self.settings.wanted, &all, &self.terms, choices);
        Ok((all, plan))
    }

    /// A heading for what belongs to it.
    fn heading(&self) -> String {
        format!("{}: {} to {}\n", self.feed, self.settings.api.as_str().trim_end_matches('/'), self.settings.target)
    }
}
