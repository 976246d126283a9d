//! The feed's loop: look, take what is complete, settle, wait.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::columns::KnownColumns;
use super::source::{Listed, Source, SourceError, Stamp};
use super::spool::Spool;
use super::take::{self, Examined, Stored};
use super::taken::{Taken, Version};
use super::watch::{Decision, Watch};
use super::{After, DropSettings, notices};
use crate::error::{Class, Classify};
use crate::feed::Feed;
use crate::inbox::{InboxError, SharedInbox};
use crate::notice::{FeedName, HeardNotice, Verdict};
use crate::ops::metrics::FeedOutcomeLabels;
use crate::ops::{Condition, Context, Heartbeat};
use crate::probe::{Finding, Step};

/// The loop promises a sign of life at least this often.
const HEARTBEAT_MAX: Duration = Duration::from_secs(120);
/// Files of a folder that are looked at; more are looked at once these are gone.
const FILES_MAX: usize = 100_000;
/// How often the spool is rid of what no notice needs.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// The longest wait after trouble; the first is one second, and each is twice the one before.
const TROUBLE_WAIT_MAX: Duration = Duration::from_secs(300);
/// After this many files that failed one after the other, the source itself is in trouble.
const FAILURES_MAX: usize = 3;
/// The shortest wait between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The feed.
pub struct DropFeed {
    settings: DropSettings,
    context: Context,
}

impl DropFeed {
    /// A feed that takes what is dropped at the place that `settings` name. Nothing is touched before [`Feed::run`].
    #[must_use]
    pub fn new(settings: DropSettings, context: Context) -> Self {
        Self { settings, context }
    }

    fn say(&self, condition: Condition) {
        self.context.health.set(&format!("feed {}", self.settings.name), condition);
    }

    /// Looks again and again until `stop`, or until the spool itself cannot be used.
    async fn hear(&self, inbox: &SharedInbox, heartbeat: &Heartbeat, stop: &CancellationToken) -> Result<(), Trouble> {
        let folder = self.settings.spool.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let spool = Spool::open(&folder)?;
            let taken = Taken::open(&folder).map_err(|error| spool_trouble(&folder, error))?;
            Ok::<_, SourceError>((spool, taken, KnownColumns::open(&folder)))
        });
        let (spool, taken, columns) = opened.await.map_err(|error| SourceError::trouble("the spool", error))??;
        let mut looker = Looker { feed: self, inbox, spool, taken, columns, watch: Watch::default() };
        let mut trouble_wait = Duration::from_secs(1);
        let mut sweep_at = Instant::now();
        loop {
            heartbeat.beat();
            if Instant::now() >= sweep_at {
                looker.sweep().await;
                sweep_at = Instant::now() + SWEEP_EVERY;
            }
            let wait = match looker.round(heartbeat, stop).await {
                Ok(next) => {
                    trouble_wait = Duration::from_secs(1);
                    self.say(Condition::Good { note: format!("watching {}", self.settings.source) });
                    let soon = next.map_or(self.settings.poll, |at| at.saturating_duration_since(Instant::now()));
                    soon.min(self.settings.poll).max(LOOK_PAUSE)
                }
                Err(trouble) => {
                    let wait = trouble_wait.max(self.settings.poll.min(TROUBLE_WAIT_MAX));
                    trouble_wait = (2 * trouble_wait).min(TROUBLE_WAIT_MAX);
                    if matches!(trouble, Trouble::Source(SourceError::HostKey { .. })) {
                        return Err(trouble);
                    }
                    tracing::warn!(%trouble, class = %trouble.class(), "trying again in {:.0} s", wait.as_secs_f32());
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

    fn count(&self, outcome: &str) {
        let labels = FeedOutcomeLabels { feed: self.settings.name.to_string(), outcome: outcome.to_owned() };
        self.context.metrics.drop_files.get_or_create(&labels).inc();
    }
}

#[async_trait]
impl Feed for DropFeed {
    fn name(&self) -> &FeedName {
        &self.settings.name
    }

    async fn run(&self, inbox: SharedInbox, stop: CancellationToken) {
        let hearing = async {
            let heartbeat = self.context.heartbeats.register(&format!("feed {}", self.settings.name), HEARTBEAT_MAX);
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
        hearing.instrument(tracing::info_span!("feed", feed = %self.settings.name)).await;
    }

    async fn probe(&self) -> Vec<Step> {
        let mut steps = self.settings.source.probe(self.settings.after != After::Leave).await;
        let began = Instant::now();
        let folder = self.settings.spool.clone();
        let looked = tokio::task::spawn_blocking(move || look_at_spool(&folder)).await;
        let finding = match looked.map_err(std::io::Error::other).and_then(|looked| looked) {
            Ok(seen) => Finding::Good { seen },
            Err(error) => Finding::Bad {
                error: format!("{}: {error}", self.settings.spool.display()),
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

/// Why a look at the place did not succeed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{file} could not be stored: {error}")]
    Inbox { file: String, error: InboxError },
}

impl Classify for Trouble {
    fn class(&self) -> Class {
        match self {
            Self::Source(error) => error.class(),
            Self::Inbox { error, .. } => error.class(),
        }
    }
}

fn spool_trouble(path: &std::path::Path, error: std::io::Error) -> SourceError {
    SourceError::Spool { path: path.display().to_string(), error }
}

/// One process's look at the place, and what it remembers from look to look.
struct Looker<'a> {
    feed: &'a DropFeed,
    inbox: &'a SharedInbox,
    spool: Spool,
    taken: Taken,
    columns: KnownColumns,
    watch: Watch,
}

impl Looker<'_> {
    /// Looks once at every file; says when a file wants to be looked at again before the next poll. One file's trouble
    /// does not keep the others waiting; the first is what is told.
    async fn round(&mut self, heartbeat: &Heartbeat, stop: &CancellationToken) -> Result<Option<Instant>, Trouble> {
        let settings = &self.feed.settings;
        let mut source = alive(heartbeat, settings.source.connect()).await?;
        let looked = self.look(&mut *source, heartbeat, stop).await;
        source.leave().await;
        looked
    }

    async fn look(
        &mut self,
        source: &mut dyn Source,
        heartbeat: &Heartbeat,
        stop: &CancellationToken,
    ) -> Result<Option<Instant>, Trouble> {
        let listed = alive(heartbeat, source.list(FILES_MAX)).await?;
        let there: HashSet<&str> = listed.iter().map(|file| file.name.as_str()).collect();
        self.watch.keep_only(&there);
        self.taken.keep_only(&there).map_err(|error| spool_trouble(self.spool.folder(), error))?;
        let mut wanted: Vec<&Listed> = listed.iter().filter(|file| self.is_wanted(&file.name, &there)).collect();
        // Oldest first: so they are stored in the order in which they were laid down.
        wanted.sort_by_key(|file| (file.stamp.modified_ms, &file.name));
        let mut next: Option<Instant> = None;
        let mut troubles: Vec<Trouble> = Vec::new();
        let mut failures = 0;
        for file in wanted {
            if stop.is_cancelled() || failures == FAILURES_MAX {
                break;
            }
            let done = tokio::select! {
                // A copy that is cut off is begun again; a store that is cut off is found to be a duplicate.
                () = stop.cancelled() => break,
                done = alive(heartbeat, self.see_to(file, source)) => done,
            };
            match done {
                Ok(again) => {
                    failures = 0;
                    next = next.into_iter().chain(again).min();
                }
                Err(trouble) => {
                    failures += 1;
                    tracing::debug!(file = file.name, %trouble, "this file has to wait");
                    troubles.push(trouble);
                }
            }
        }
        troubles.into_iter().next().map_or(Ok(next), Err)
    }

    fn is_wanted(&self, name: &str, there: &HashSet<&str>) -> bool {
        let settings = &self.feed.settings;
        // A name leads nowhere else, whatever a server says.
        if !settings.files.wants(name) || name.contains(['/', '\\']) || name.chars().any(char::is_control) {
            return false;
        }
        let Some(marker) = &settings.marker else { return true };
        let is_marker = there.iter().any(|file| marker.replace("{file}", file) == name);
        !is_marker && there.contains(marker.replace("{file}", name).as_str())
    }

    /// Does what is due for one file; says when it wants to be looked at again.
    async fn see_to(&mut self, file: &Listed, source: &mut dyn Source) -> Result<Option<Instant>, Trouble> {
        let settings = &self.feed.settings;
        if let Some(version) = self.taken.get(&file.name).filter(|version| version.stamp == file.stamp) {
            if !version.is_settled {
                let version = version.clone();
                self.tell_source(file, &version, source).await?;
            }
            return Ok(None);
        }
        let now = Instant::now();
        match self.watch.decide(file, now, settings.stable_for, settings.incomplete_for) {
            Decision::Wait(until) => Ok(Some(until)),
            Decision::Take => self.take(file, source, false).await,
            Decision::TakeAsItIs => self.take(file, source, true).await,
        }
    }

    async fn take(
        &mut self,
        file: &Listed,
        source: &mut dyn Source,
        as_it_is: bool,
    ) -> Result<Option<Instant>, Trouble> {
        let settings = &self.feed.settings;
        let mut draft = self.spool.draft(&file.name, settings.limits.file_bytes_max).await?;
        source.read(&file.name, &mut draft).await?;
        let mut copied = draft.finish().await?;
        if source.stat(&file.name).await?.as_ref() != Some(&file.stamp) || copied.size != file.stamp.size {
            tracing::debug!(file = file.name, "it changed while it was copied");
            self.feed.count("changed");
            self.watch.start_over(&file.name);
            return Ok(Some(Instant::now() + settings.stable_for));
        }
        let (name, limits, files) = (file.name.clone(), settings.limits.clone(), settings.files.clone());
        let (examined, copied) =
            tokio::task::spawn_blocking(move || (take::examine(&mut copied.file, &name, &limits, &files), copied))
                .await
                .map_err(|error| SourceError::trouble(&file.name, error))?;
        let examined = examined.map_err(|error| spool_trouble(self.spool.folder(), error))?;
        if let Examined::NotWhole { reason, .. } = &examined
            && !as_it_is
        {
            tracing::info!(file = file.name, reason, "not whole yet; waiting for the rest");
            self.feed.count("incomplete");
            self.watch.not_whole(&file.name, Instant::now(), settings.stable_for);
            return Ok(None);
        }
        let hash = copied.hash.clone();
        let is_bad = examined.is_bad();
        if !is_bad && self.is_forgotten_duplicate(file, &hash).await? {
            let stored = Stored { file: file.clone(), hash, receipts: Vec::new(), is_bad };
            self.settle(stored, source).await?;
            return Ok(None);
        }
        self.spool.keep(copied).await?;
        let now = self.feed.context.clock.now();
        let heard = notices::of(settings, file, &hash, examined, &mut self.columns, now);
        let stored = self.store(file, hash, heard, is_bad).await?;
        self.settle(stored, source).await?;
        Ok(None)
    }

    /// Whether this very content was taken before under this name, so long ago that the inbox has let go of it.
    async fn is_forgotten_duplicate(&self, file: &Listed, hash: &super::spool::ContentHash) -> Result<bool, Trouble> {
        if self.taken.get(&file.name).is_none_or(|version| version.hash != hash.as_str()) {
            return Ok(false);
        }
        let prefixes = vec![notices::key_prefix(hash)];
        let held = self.inbox.holds(self.feed.settings.name.clone(), prefixes).await;
        let held = held.map_err(|error| Trouble::Inbox { file: file.name.clone(), error })?;
        Ok(!held.contains(&true))
    }

    /// Commits the notices of a file whose content is on disk.
    async fn store(
        &self,
        file: &Listed,
        hash: super::spool::ContentHash,
        heard: Vec<HeardNotice>,
        is_bad: bool,
    ) -> Result<Stored, Trouble> {
        report(&file.name, &heard, &self.feed.context);
        let mut receipts = Vec::with_capacity(heard.len());
        let mut heard = heard.into_iter().peekable();
        // Several commits where one would be too large: what an earlier try stored is found stored.
        while heard.peek().is_some() {
            let batch: Vec<_> = heard.by_ref().take(self.feed.settings.commit_notices_max).collect();
            let stored = self.inbox.store(batch).await;
            receipts.extend(stored.map_err(|error| Trouble::Inbox { file: file.name.clone(), error })?);
        }
        self.columns.save(self.spool.folder());
        Ok(Stored { file: file.clone(), hash, receipts, is_bad })
    }

    /// Tells the source that a stored file is ours now, as far as it is to be told.
    async fn settle(&mut self, stored: Stored, source: &mut dyn Source) -> Result<(), Trouble> {
        let Stored { file, hash, receipts, is_bad } = stored;
        let duplicates = receipts.iter().filter(|receipt| receipt.is_duplicate()).count();
        let metrics = &self.feed.context.metrics;
        let labels = crate::ops::metrics::FeedLabels { feed: self.feed.settings.name.to_string() };
        metrics.notices_stored.get_or_create(&labels).inc_by((receipts.len() - duplicates) as u64);
        metrics.notices_duplicate.get_or_create(&labels).inc_by(duplicates as u64);
        let outcome = match (is_bad, duplicates == receipts.len()) {
            (_, true) => "duplicate",
            (true, false) => "quarantined",
            (false, false) => "taken",
        };
        self.feed.count(outcome);
        tracing::info!(file = file.name, notices = receipts.len(), duplicates, hash = hash.short(), "{outcome}");
        // A file that we could not read stays where its sender can look at it.
        let is_settled = is_bad || self.feed.settings.after == After::Leave;
        let version = Version { stamp: file.stamp.clone(), hash: hash.as_str().to_owned(), is_settled };
        self.remember(&file.name, version.clone())?;
        let ids: Vec<_> = receipts.iter().map(crate::inbox::Receipt::notice).collect();
        if !is_settled {
            self.tell_source(&file, &version, source).await?;
        }
        metrics.notices_settled.get_or_create(&labels).inc_by(ids.len() as u64);
        if let Err(error) = self.inbox.settled(ids, self.feed.context.clock.now()).await {
            tracing::warn!(%error, "the inbox could not note what was settled");
        }
        Ok(())
    }

    /// Moves or deletes a file that is stored, unless it is another one by now.
    async fn tell_source(&mut self, file: &Listed, version: &Version, source: &mut dyn Source) -> Result<(), Trouble> {
        let there: Option<Stamp> = source.stat(&file.name).await?;
        if there.as_ref().is_some_and(|stamp| *stamp != version.stamp) {
            return Ok(());
        }
        let settings = &self.feed.settings;
        let marker = settings.marker.as_ref().map(|marker| marker.replace("{file}", &file.name));
        for name in std::iter::once(&file.name).chain(&marker) {
            match &settings.after {
                After::Leave => {}
                After::Delete => source.delete(name).await?,
                After::Move(folder) => {
                    let other = format!("{name}.{}", &version.hash[..12]);
                    source.move_to(name, folder, &other).await?;
                }
            }
        }
        self.remember(&file.name, Version { is_settled: true, ..version.clone() })
    }

    fn remember(&mut self, name: &str, version: Version) -> Result<(), Trouble> {
        let written = self.taken.remember(name, version);
        written.map_err(|error| spool_trouble(self.spool.folder(), error).into())
    }

    async fn sweep(&self) {
        match self.spool.sweep(&self.feed.settings.name, self.inbox).await {
            Ok(swept) if swept.removed > 0 => {
                tracing::info!(removed = swept.removed, kept_bytes = swept.kept_bytes, "swept the spool");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the spool could not be swept; trying again later"),
        }
    }
}

/// Says what is worth a look in the notices of a file.
fn report(file: &str, heard: &[HeardNotice], context: &Context) {
    for notice in heard {
        let blob_type = &notice.metadata.blob_type;
        if let Verdict::Unreadable(reason) = &notice.verdict {
            tracing::warn!(file, blob_type, reason, "set aside");
        }
        let drift = notice.metadata.properties.as_ref().and_then(|properties| properties.get("drift"));
        if let Some(drift) = drift {
            tracing::warn!(file, blob_type, %drift, "the columns are not those of the last file");
            let labels = crate::ops::metrics::FeedLabels { feed: notice.feed.to_string() };
            context.metrics.column_drifts.get_or_create(&labels).inc();
        }
    }
}

/// Shows signs of life while `work` waits for something that may rightly take long and ends by itself.
async fn alive<T>(heartbeat: &Heartbeat, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut beat = tokio::time::interval(HEARTBEAT_MAX / 10);
    loop {
        tokio::select! {
            done = work.as_mut() => return done,
            _ = beat.tick() => heartbeat.beat(),
        }
    }
}
