//! `longshore demo`: the whole way of a notice in one process, without an account. The sandbox plays the vendors, the
//! daemon hears and delivers, and in the end what lies in the output is held against what was published.
//!
//! ```text
//! feeds ──publish──> sandbox ~~ AMQP, HTTPS, a folder ~~> daemon ──> files, databases
//!   └────── expected records ──────> account <───────────────┘
//! ```

mod account;
mod config;
mod feeds;
mod outcome;
mod screen;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::config::{Config, Files};
use crate::daemon::{self, Duty, Parts};
use crate::inbox::ledger::{Ledger, NoticeLine, Selector, Summary};
use crate::ops::Context;
use crate::sandbox::{Sandbox, SandboxSettings};

use self::feeds::{Choice, Feed, Stage};
use self::outcome::Outcome;
use self::screen::Screen;
use super::Global;
use super::exit::Exit;

/// What `longshore demo` can be told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose side is played: EG Retail's, a bucket of day folders, a daily zip that is dropped, a webhook, or all at once
    #[arg(long, value_enum, value_name = "FEED", default_value_t = Choice::Eg)]
    feed: Choice,
    /// How many ordinary files are published by EG Retail; a few ugly ones come on top
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    files: u32,
    /// How many records these files hold together. The bucket and the zips bring a quarter as many each, the webhook sends
    /// an event for every hundred
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    records: u64,
    /// Where everything is put; a new folder below the system's temporary one unless given. Must not exist, or be empty
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// End with one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// How long the demo waits without any progress before it says that it is stuck.
const STUCK_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// The vendor sends an event again after 20 seconds at the earliest; here after 0.2.
const WEBHOOK_SPEED: f64 = 100.0;

/// Runs the demo.
///
/// # Errors
/// When a part cannot be started, or the demo stands still.
pub fn run(args: &Args, global: &Global) -> anyhow::Result<ExitCode> {
    let dir = folder(args.dir.as_deref())?;
    super::runtime(2)?.block_on(async {
        let settings = SandboxSettings { webhook_speed: WEBHOOK_SPEED, ..SandboxSettings::new(&dir) };
        let sandbox = Sandbox::start(settings).await?;
        let config_path = dir.join("longshore.toml");
        std::fs::write(&config_path, config::text(&sandbox, args.feed.feeds()))
            .with_context(|| config_path.display().to_string())?;
        let config = Config::load(&config_path, Files::Checked)?;
        global.log(&config.log)?;
        let ended = play(args, &dir, &sandbox, config).await;
        sandbox.stop().await;
        let outcome = ended?;
        if args.json {
            println!("{}", serde_json::to_string(&outcome).context("the outcome as JSON")?);
        } else {
            print!("{}", outcome.table());
        }
        Ok(if outcome.is_clean() { Exit::Ok } else { Exit::Data }.into())
    })
}

fn folder(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    match asked {
        None => Ok(tempfile::Builder::new().prefix("longshore-demo-").tempdir()?.keep()),
        Some(dir) => {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
            let is_empty = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?.next().is_none();
            anyhow::ensure!(is_empty, "{} is not empty; name a new folder", dir.display());
            std::path::absolute(dir).with_context(|| dir.display().to_string())
        }
    }
}

async fn play(args: &Args, dir: &Path, sandbox: &Sandbox, config: Config) -> anyhow::Result<Outcome> {
    let started = tokio::time::Instant::now();
    let stop = CancellationToken::new();
    let context = Context::new(Arc::new(SystemClock));
    if args.feed.feeds().contains(&Feed::Webhook) {
        super::subscriptions::make_so(&config).await?;
    }
    let parts = Parts::build(&config, &context, &stop).await?;
    let ledger = Arc::clone(&parts.ledger);
    let daemon = {
        let (context, stop) = (context.clone(), stop.clone());
        tokio::spawn(async move { daemon::run_parts(parts, &config, Duty::Both, context, stop).await })
    };
    let screen = Screen::new();
    let stage = Stage { sandbox, ledger: &*ledger, screen: &screen, dir, files: args.files, records: args.records };
    let watched = async {
        let played = futures::future::try_join_all(args.feed.feeds().iter().map(|feed| stage.play(*feed))).await?;
        let published = played.iter().map(|played| played.notices).sum();
        Ok::<_, anyhow::Error>((wait(&*ledger, published, &screen, &context).await?, played))
    };
    let watched = watched.await;
    stop.cancel();
    daemon.await.context("the daemon panicked")??;
    let ((summary, notices), played) = watched?;
    screen.finish();
    let played = played.into_iter().map(|played| Ok((played.found()?, played))).collect::<anyhow::Result<_>>()?;
    Ok(Outcome::new(&summary, &notices, played, &context.metrics, started.elapsed(), dir))
}

/// Waits until every notice that was published has come to its end, and nothing is parked any more.
async fn wait(
    ledger: &dyn Ledger,
    published: u64,
    screen: &Screen,
    context: &Context,
) -> anyhow::Result<(Summary, Vec<NoticeLine>)> {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    let mut last_change = tokio::time::Instant::now();
    let mut last = None;
    loop {
        tick.tick().await;
        let summary = ledger.summary().await?;
        let counts = summary.notices;
        let ended = counts.finished + counts.skipped + counts.quarantined;
        screen.show(&summary, context.metrics.records_woken.get());
        if ended >= published && counts.heard + counts.open == 0 && summary.parked.records == 0 {
            let notices = ledger.notices(Selector::default()).await?;
            // Woken records travel in notices of their own, which come on top of those that were published.
            if notices.iter().filter(|notice| notice.woken_from.is_none()).count() as u64 >= published {
                return Ok((summary, notices));
            }
        }
        let seen = (summary.notices, summary.last_day, summary.parked.records);
        if last != Some(seen) {
            last = Some(seen);
            last_change = tokio::time::Instant::now();
        }
        anyhow::ensure!(
            last_change.elapsed() < STUCK_AFTER,
            "nothing has moved for {} s: {ended} of {published} notices have ended, {} records are parked; \
             `--log-level info` shows why",
            STUCK_AFTER.as_secs(),
            summary.parked.records
        );
    }
}
