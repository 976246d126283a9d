//! One look at the place after another: what is complete is taken, stored and settled.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::columns::KnownColumns;
use super::expect::Arrivals;
use super::feed::{DropFeed, Trouble, alive, spool_trouble};
use super::source::{FILES_MAX, Goal, Listed, ReadEnd, Source, SourceError, Stamp};
use super::spool::{ContentHash, Spool};
use super::take::{self, Examined, Stored};
use super::taken::{Taken, Version};
use super::watch::{Decision, Watch};
use super::{After, notices};
use crate::inbox::{Receipt, SharedInbox};
use crate::notice::{HeardNotice, Verdict};
use crate::ops::metrics::FeedLabels;
use crate::ops::{Condition, Context, Heartbeat};

/// After this many files that failed one after the other, the source itself is in trouble.
const FAILURES_MAX: usize = 3;

/// One process's look at the place, and what it remembers from look to look.
pub(super) struct Looker<'a> {
    pub(super) feed: &'a DropFeed,
    pub(super) inbox: &'a SharedInbox,
    pub(super) spool: Spool,
    pub(super) taken: Taken,
    pub(super) columns: KnownColumns,
    pub(super) arrivals: Option<Arrivals>,
    pub(super) late: Arc<AtomicI64>,
    pub(super) watch: Watch,
}

impl Looker<'_> {
    /// Looks once at every file; says when a file wants to be looked at again before the next poll. One file's trouble
    /// does not keep the others waiting; the first is what is told.
    pub(super) async fn round(
        &mut self,
        heartbeat: &Heartbeat,
        stop: &CancellationToken,
    ) -> Result<Option<Instant>, Trouble> {
        let mut source = alive(heartbeat, self.feed.way.connect()).await?;
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
        if listed.len() == FILES_MAX {
            let source = self.feed.settings.source.to_string();
            tracing::warn!(
                source,
                "no more than {FILES_MAX} files of a folder are looked at, and it holds as many: move away or delete what \
                 is taken (`after`), or have the sender use another folder"
            );
        }
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
        let end = source.read(file, &mut draft).await?;
        let mut copied = draft.finish().await?;
        if end == ReadEnd::Replaced
            || source.stat(&file.name).await?.as_ref() != Some(&file.stamp)
            || copied.size != file.stamp.size
        {
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
    async fn is_forgotten_duplicate(&self, file: &Listed, hash: &ContentHash) -> Result<bool, Trouble> {
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
        hash: ContentHash,
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
        let labels = FeedLabels { feed: self.feed.settings.name.to_string() };
        metrics.notices_stored.get_or_create(&labels).inc_by((receipts.len() - duplicates) as u64);
        metrics.notices_duplicate.get_or_create(&labels).inc_by(duplicates as u64);
        let outcome = match (is_bad, duplicates == receipts.len()) {
            (_, true) => "duplicate",
            (true, false) => "quarantined",
            (false, false) => "taken",
        };
        self.feed.count(outcome);
        tracing::info!(file = file.name, notices = receipts.len(), duplicates, hash = hash.short(), "{outcome}");
        let day = self.feed.settings.naming.read(&file.name).date;
        // The same once more, without a day, is not the next day's.
        if let Some(arrivals) = self.arrivals.as_mut().filter(|_| !is_bad && (outcome == "taken" || day.is_some())) {
            arrivals.came(day, self.feed.context.clock.now());
            self.tell_what_is_late();
        }
        // A file that we could not read stays where its sender can look at it.
        let is_settled = is_bad || self.feed.settings.after == After::Leave;
        let version = Version { stamp: file.stamp.clone(), hash: hash.as_str().to_owned(), is_settled };
        self.remember(&file.name, version.clone())?;
        let ids: Vec<_> = receipts.iter().map(Receipt::notice).collect();
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
                    source.move_to(name, &Goal { folder, other: &other, hash: &version.hash }).await?;
                }
            }
        }
        // What has its name from now on is another file, however like this one it looks.
        self.taken.forget(&file.name).map_err(|error| spool_trouble(self.spool.folder(), error).into())
    }

    /// Lateness is a part's condition, a figure, and a line of the log when it changes.
    pub(super) fn tell_what_is_late(&self) {
        let Some(arrivals) = &self.arrivals else { return };
        let now = self.feed.context.clock.now();
        let days = i64::try_from(arrivals.late(now).len()).unwrap_or(i64::MAX);
        let before = self.late.swap(days, Ordering::Relaxed);
        let condition = match arrivals.complaint(now) {
            Some(complaint) => {
                if days > before {
                    tracing::warn!(days, "{complaint}");
                }
                Condition::Degraded { reason: complaint }
            }
            None => {
                if before > 0 {
                    tracing::info!("what was late has come");
                }
                Condition::Good { note: "nothing is late".to_owned() }
            }
        };
        self.feed.context.health.set(&format!("arrivals of feed {}", self.feed.settings.name), condition);
    }

    fn remember(&mut self, name: &str, version: Version) -> Result<(), Trouble> {
        let written = self.taken.remember(name, version);
        written.map_err(|error| spool_trouble(self.spool.folder(), error).into())
    }

    pub(super) async fn sweep(&self) {
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
            let labels = FeedLabels { feed: notice.feed.to_string() };
            context.metrics.column_drifts.get_or_create(&labels).inc();
        }
    }
}
