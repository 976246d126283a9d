//! The feed's loop: look, take what is complete, settle, wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::look::{HEARTBEAT_MAX, Looker, alive};
use super::memory::Memory;
use super::settings::DropSettings;
use super::site::Site;
use super::source::SourceError;
use super::spool::Spool;
use super::taker::Taker;
use super::trouble::{Trouble, spool_trouble};
use super::turn::Turns;
use super::watch::{Incomplete, Watch};
use crate::error::{Class, Classify as _};
use crate::feed::Feed;
use crate::inbox::SharedInbox;
use crate::notice::FeedName;
use crate::ops::metrics::ComputedGauge;
use crate::ops::{Condition, Context, Heartbeat};
use crate::probe::{Finding, Step};

/// How often the spool is rid of what no notice needs.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// The longest wait after trouble; the first is one second, and each is twice the one before.
const TROUBLE_WAIT_MAX: Duration = Duration::from_secs(300);
/// The shortest wait between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The feed.
pub struct DropFeed(Site);

impl DropFeed {
    /// A feed that takes what is dropped at the place that `settings` name. Nothing is touched before [`Feed::run`].
    #[must_use]
    pub fn new(settings: DropSettings, context: Context) -> Self {
        Self(Site::new(settings, context))
    }

    fn say(&self, condition: Condition) {
        self.0.context.health.set(&format!("feed {}", self.0.settings.name), condition);
    }

    /// Looks again and again until `stop`, or until the spool itself cannot be used.
    async fn hear(&self, inbox: &SharedInbox, heartbeat: &Heartbeat, stop: &CancellationToken) -> Result<(), Trouble> {
        let (settings, now) = (self.0.settings.clone(), self.0.context.clock.now());
        let fail = |error| spool_trouble(&self.0.settings.spool, error);
        let folder = settings.spool.clone();
        let opened = tokio::task::spawn_blocking(move || (Spool::open(&folder), Turns::open(&folder)));
        let (spool, turns) = opened.await.map_err(|error| SourceError::trouble("the spool", error))?;
        let (spool, mut turns) = (spool?, turns.map_err(fail)?);
        let turn = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            turn = alive(heartbeat, turns.wait()) => turn.map_err(fail)?,
        };
        let opened = tokio::task::spawn_blocking(move || {
            spool.clear(&turn).map_err(|error| spool_trouble(&settings.spool, error))?;
            let memory = Memory::open(&settings, now, &turn)?;
            Ok::<_, SourceError>((spool, memory, Incomplete::read(&settings.spool)))
        });
        let (spool, memory, told) = opened.await.map_err(|error| SourceError::trouble("the spool", error))??;
        let taker = Taker { site: &self.0, inbox, spool, memory, late: self.late_gauge() };
        let mut looker = Looker { taker, turns, watch: Watch::default(), told };
        let mut trouble_wait = Duration::from_secs(1);
        let mut in_trouble_since: Option<Instant> = None;
        let mut sweep_at = Instant::now();
        loop {
            heartbeat.beat();
            if Instant::now() >= sweep_at {
                looker.sweep(heartbeat, stop).await?;
                sweep_at = Instant::now() + SWEEP_EVERY;
            }
            looker.taker.tell_what_is_late();
            let wait = match looker.round(heartbeat, stop).await {
                Ok(next) => {
                    trouble_wait = Duration::from_secs(1);
                    if let Some(since) = in_trouble_since.take() {
                        tracing::info!("all is well again after {:.0} s", since.elapsed().as_secs_f32());
                    }
                    self.say(Condition::Good { note: self.note(looker.watch.incomplete().len()) });
                    let soon = next.map_or(self.0.settings.poll, |at| at.saturating_duration_since(Instant::now()));
                    soon.min(self.0.settings.poll).max(LOOK_PAUSE)
                }
                Err(trouble) => {
                    let wait = trouble_wait.max(self.0.settings.poll.min(TROUBLE_WAIT_MAX));
                    trouble_wait = (2 * trouble_wait).min(TROUBLE_WAIT_MAX);
                    if matches!(trouble, Trouble::Source(SourceError::HostKey { .. })) {
                        return Err(trouble);
                    }
                    in_trouble_since.get_or_insert_with(Instant::now);
                    let class = trouble.class();
                    let again = match class {
                        Class::Permanent => "somebody has to change something; trying again",
                        _ => "trying again",
                    };
                    tracing::warn!(%trouble, %class, "{again} in {:.0} s", wait.as_secs_f32());
                    self.say(Condition::Degraded { reason: trouble.to_string() });
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = alive(heartbeat, tokio::time::sleep(wait)) => {}
            }
        }
    }

    /// What is told while all is well: what is not whole waits, for a time.
    fn note(&self, incomplete: usize) -> String {
        let settings = &self.0.settings;
        match incomplete {
            0 => format!("watching {}", settings.source),
            1 => format!(
                "watching {}; a file in it is not whole: `longshore feed list {}`",
                settings.source, settings.name
            ),
            n => format!(
                "watching {}; {n} files in it are not whole: `longshore feed list {}`",
                settings.source, settings.name
            ),
        }
    }

    /// How many days are late, as it is told in the metrics.
    fn late_gauge(&self) -> Arc<AtomicI64> {
        let late = Arc::new(AtomicI64::new(0));
        let told = Arc::clone(&late);
        if self.0.settings.expect.is_some() {
            let read = move || Some(told.load(Ordering::Relaxed));
            self.0.context.metrics.computed_gauge(ComputedGauge::FeedLateDays, self.0.settings.name.as_str(), read);
        }
        late
    }
}

#[async_trait]
impl Feed for DropFeed {
    fn name(&self) -> &FeedName {
        &self.0.settings.name
    }

    async fn run(&self, inbox: SharedInbox, stop: CancellationToken) {
        let hearing = async {
            let heartbeat =
                self.0.context.heartbeats.register(&format!("feed {}", self.0.settings.name), HEARTBEAT_MAX);
            self.say(Condition::Starting);
            while let Err(trouble) = self.hear(&inbox, &heartbeat, &stop).await {
                tracing::warn!(%trouble, class = %trouble.class(), "not listening");
                self.say(Condition::Degraded { reason: format!("not listening: {trouble}") });
                if matches!(trouble, Trouble::Source(SourceError::HostKey { .. })) {
                    // Whoever answers there is not asked again before a person has looked.
                    alive(&heartbeat, stop.cancelled()).await;
                    break;
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = alive(&heartbeat, tokio::time::sleep(Duration::from_secs(10))) => {}
                }
            }
            self.say(Condition::Good { note: "stopped".to_owned() });
            tracing::info!("stopped");
        };
        hearing.instrument(tracing::info_span!("feed", feed = %self.0.settings.name)).await;
    }

    async fn probe(&self) -> Vec<Step> {
        let mut steps = self.0.way.probe(&self.0.settings.after).await;
        let began = Instant::now();
        let folder = self.0.settings.spool.clone();
        let looked = tokio::task::spawn_blocking(move || look_at_spool(&folder)).await;
        let finding = match looked.map_err(std::io::Error::other).and_then(|looked| looked) {
            Ok(seen) => Finding::Good { seen },
            Err(error) => Finding::Bad {
                error: format!("{}: {error}", self.0.settings.spool.display()),
                remedy: "the user who runs Longshore must be able to write it; `spool` of the feed names it".to_owned(),
            },
        };
        steps.push(Step { name: "spool writable".to_owned(), took: began.elapsed(), finding });
        steps
    }
}

/// Looks at the spool, or at what it will be made in; makes nothing.
fn look_at_spool(folder: &std::path::Path) -> std::io::Result<String> {
    let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(std::path::Path::new("/"));
    rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?;
    let disk = rustix::fs::statvfs(there)?;
    let state = if there == folder { "there" } else { "will be made" };
    let free_mib = disk.f_bavail.saturating_mul(disk.f_frsize) >> 20;
    Ok(format!("{}, {state}, {free_mib} MiB free", folder.display()))
}
