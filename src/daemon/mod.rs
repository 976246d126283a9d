//! The daemon: puts the parts together, runs them, and takes them down in order.
//!
//! What always holds:
//!
//! 1. Nothing is heard before the inbox is open, and the inbox is the last to be let go.
//! 2. Ready is said once every part has been started; a feed that cannot connect yet does not keep the others waiting.
//! 3. A stop (TERM or INT) ends hearing, lets deliveries drain, and then ends the keeper. A second one ends the
//!    process at once. Nothing is lost either way: what was not settled comes again, what was not finished is claimed again.
//! 4. It ends by itself for one reason: the disk failed so that only opening the inbox anew shows what was kept.
//!
//! ```text
//!          start ─────────────────────────────>
//! inbox ── sinks, router, tokens ── workers ── feeds ── ready
//! keeper (retention, health in the inbox, heartbeat), health and metrics over HTTP, watchdog
//!          <───────────────────────────── stop
//! ```

mod keeper;
mod order;
mod parts;
mod signals;
mod times;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::ops::{self, Condition, Context};
use crate::worker::{Ended, Until};

pub use parts::{BuildError, Parts, bucket, feeds, router, sinks, token_sources};
pub use signals::stop_on_signals;

/// Which of the two halves a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Hear and work: `longshore run`.
    Both,
    /// Only hear and store: `longshore listen`.
    Listen,
    /// Only work off what is stored: `longshore work`.
    Work(Until),
}

impl Duty {
    /// As it is shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "run",
            Self::Listen => "listen",
            Self::Work(_) => "work",
        }
    }

    fn hears(self) -> bool {
        matches!(self, Self::Both | Self::Listen)
    }

    fn works(self) -> Option<Until> {
        match self {
            Self::Both => Some(Until::Stopped),
            Self::Listen => None,
            Self::Work(until) => Some(until),
        }
    }
}

/// Runs until `stop`, or until the work is done where the duty has an end. Returns why it ended.
///
/// # Errors
/// When the parts cannot be built: the inbox cannot be opened, a sink's settings cannot work, the address of health
/// and metrics is taken. Once running, trouble is a state of health, not an error; but for an inbox whose disk failed
/// so that only opening it anew shows what was kept.
pub async fn run(config: Config, duty: Duty, context: Context, stop: CancellationToken) -> Result<Ended, BuildError> {
    let parts = Parts::build(&config, &context, &stop).await?;
    run_parts(parts, &config, duty, context, stop).await
}

/// As [`run`], with parts that the caller has built and may keep a hand on.
///
/// # Errors
/// When the address of health and metrics is taken, or the inbox can only be opened anew.
pub async fn run_parts(
    parts: Parts,
    config: &Config,
    duty: Duty,
    context: Context,
    stop: CancellationToken,
) -> Result<Ended, BuildError> {
    // Ends what serves the others, after they have ended.
    let end = CancellationToken::new();
    let mut servants = JoinSet::new();
    context.health.set("inbox", Condition::Good { note: config.inbox.path.display().to_string() });
    let before_metrics = keeper::InboxGauges::register(Arc::clone(&parts.ledger), &context);
    if let Some(listener) = listener(config, duty, &context).await? {
        let address = listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
        tracing::info!(%address, "serving health and metrics");
        let server = ops::http::serve(listener, context.clone(), before_metrics, end.clone());
        servants.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "health and metrics are not served any more");
            }
        });
    }
    let times = times::Times::new(Arc::clone(&parts.inbox), &context);
    let (ledger, settings) = (Arc::clone(&parts.ledger), config.inbox.clone());
    let last_resort = keeper::LastResort { stop: stop.clone(), why: Arc::default() };
    let why = Arc::clone(&last_resort.why);
    servants.spawn(keeper::keep(ledger, times, settings, duty, context.clone(), last_resort, end.clone()));
    if config.work.stops_on_poison() {
        servants.spawn(order::watch(Arc::clone(&parts.quarantine), context.clone(), end.clone()));
    }
    servants.spawn(ops::systemd::watch(Arc::clone(&context.health), Arc::clone(&context.heartbeats), end.clone()));

    let mut feeds = JoinSet::new();
    if duty.hears() {
        for feed in parts.feeds {
            let inbox = Arc::clone(&parts.inbox);
            let (stop, health) = (stop.clone(), Arc::clone(&context.health));
            feeds.spawn(async move {
                let part = format!("feed {}", feed.name());
                ops::unbroken(&health, &part, &stop, || feed.run(Arc::clone(&inbox), stop.clone())).await;
            });
        }
    }
    let workers = duty.works().map(|until| tokio::spawn(parts.workers.run(until, stop.clone())));
    ops::systemd::ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), duty = duty.as_str(), feeds = feeds.len(), "started");

    let ended = match workers {
        // Work with an end ends the rest; work without one ends with `stop`.
        Some(workers) => {
            let ended = workers.await.unwrap_or_else(|_| {
                tracing::error!("the workers panicked");
                Ended::Stopped
            });
            stop.cancel();
            ended
        }
        None => {
            stop.cancelled().await;
            Ended::Stopped
        }
    };
    ops::systemd::stopping();
    while let Some(ended) = feeds.join_next().await {
        if ended.is_err() {
            tracing::error!("a feed panicked");
        }
    }
    end.cancel();
    while servants.join_next().await.is_some() {}
    tracing::info!("stopped");
    match why.get() {
        Some(error) => Err(error.clone().into()),
        None => Ok(ended),
    }
}

/// Where health and metrics are served, if at all. A process that only works does so without them while another has the
/// address, such as the one that hears by the same configuration.
async fn listener(config: &Config, duty: Duty, context: &Context) -> Result<Option<TcpListener>, BuildError> {
    let Some(address) = config.ops.listen else { return Ok(None) };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if matches!(duty, Duty::Work(_)) && error.kind() == std::io::ErrorKind::AddrInUse => {
            let reason = format!(
                "another process serves its own on {address}, such as `longshore listen`; where this one's are wanted \
                 too, give it a configuration with another `listen` in [ops]"
            );
            tracing::warn!("no health and metrics of this process: {reason}");
            context.health.set("metrics", Condition::Degraded { reason });
            Ok(None)
        }
        Err(error) => Err(BuildError::Listen { address, error }),
    }
}
