//! Takes a file that is looked at: copies and examines it, stores its notices, and tells the source. The feed's loop does
//! so, and whoever takes a file by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::key::{ContentHash, key_prefix, make_others};
use super::memory::Memory;
use super::notices;
use super::site::Site;
use super::source::{After, Goal, Listed, ReadEnd, Source, SourceError, Stamp};
use super::spool::Spool;
use super::take::{self, Examined, Outcome, Stored};
use super::taken::Version;
use super::trouble::{Trouble, spool_trouble};
use crate::clock::UnixMs;
use crate::inbox::{Receipt, SharedInbox};
use crate::notice::{HeardNotice, Verdict};
use crate::ops::metrics::FeedLabels;
use crate::ops::{Condition, Context};

/// Who takes files of a feed, in its turn.
pub(super) struct Taker<'a> {
    pub(super) site: &'a Site,
    pub(super) inbox: &'a SharedInbox,
    pub(super) spool: Spool,
    pub(super) memory: Memory,
    pub(super) late: Arc<AtomicI64>,
}

/// How a file is taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    /// Also one that is not whole: it is set aside.
    pub(super) as_it_is: bool,
    /// As another one than the inbox may have, from this moment.
    pub(super) again: Option<UnixMs>,
}

/// What came of it.
pub(super) enum Took {
    /// It changed while it was copied.
    Changed,
    /// It is not whole; why.
    NotWhole(String),
    /// It is ours, and its source is to be told.
    Stored(Stored),
}

impl Taker<'_> {
    /// Copies a file and stores it, if it is whole.
    pub(super) async fn take(&mut self, file: &Listed, source: &mut dyn Source, how: How) -> Result<Took, Trouble> {
        let settings = &self.site.settings;
        let mut draft = self.spool.draft(&file.name, settings.limits.file_bytes_max).await?;
        let end = source.read(file, &mut draft).await?;
        let mut copied = draft.finish().await?;
        if end == ReadEnd::Replaced
            || source.stat(&file.name).await?.as_ref() != Some(&file.stamp)
            || copied.size != file.stamp.size
        {
            return Ok(Took::Changed);
        }
        let (name, limits, files) = (file.name.clone(), settings.limits.clone(), settings.files.clone());
        let (examined, copied) =
            tokio::task::spawn_blocking(move || (take::examine(&mut copied.file, &name, &limits, &files), copied))
                .await
                .map_err(|error| SourceError::trouble(&file.name, error))?;
        let examined = examined.map_err(|error| spool_trouble(self.spool.folder(), error))?;
        if let (Examined::NotWhole { reason, .. }, false) = (&examined, how.as_it_is) {
            return Ok(Took::NotWhole(reason.clone()));
        }
        let hash = copied.hash.clone();
        let is_bad = examined.is_bad();
        if !is_bad && how.again.is_none() && self.is_forgotten_duplicate(file, &hash).await? {
            return Ok(Took::Stored(Stored { file: file.clone(), hash, receipts: Vec::new(), is_bad }));
        }
        self.spool.keep(copied).await?;
        let now = self.site.context.clock.now();
        let mut heard = notices::of(settings, file, &hash, examined, &mut self.memory.columns, now);
        if let Some(again) = how.again {
            make_others(&mut heard, &file.name, again);
        }
        Ok(Took::Stored(self.store(file, hash, heard, is_bad).await?))
    }

    /// Whether this very content was taken before under this name, so long ago that the inbox has let go of it.
    async fn is_forgotten_duplicate(&self, file: &Listed, hash: &ContentHash) -> Result<bool, Trouble> {
        if self.memory.taken.get(&file.name).is_none_or(|version| version.hash != hash.as_str()) {
            return Ok(false);
        }
        let prefixes = vec![key_prefix(hash)];
        let held = self.inbox.holds(self.site.settings.name.clone(), prefixes).await;
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
        report(&file.name, &heard, &self.site.context);
        let mut receipts = Vec::with_capacity(heard.len());
        let mut heard = heard.into_iter().peekable();
        // Several commits where one would be too large: what an earlier try stored is found stored.
        while heard.peek().is_some() {
            let batch: Vec<_> = heard.by_ref().take(self.site.settings.commit_notices_max).collect();
            let stored = self.inbox.store(batch).await;
            receipts.extend(stored.map_err(|error| Trouble::Inbox { file: file.name.clone(), error })?);
        }
        self.memory.columns.save(self.spool.folder());
        Ok(Stored { file: file.clone(), hash, receipts, is_bad })
    }

    /// Tells the source that a stored file is ours now, as far as it is to be told.
    pub(super) async fn settle(&mut self, stored: Stored, source: &mut dyn Source) -> Result<(), Trouble> {
        let outcome = stored.outcome();
        let Stored { file, hash, receipts, is_bad } = stored;
        let duplicates = receipts.iter().filter(|receipt| receipt.is_duplicate()).count();
        let metrics = &self.site.context.metrics;
        let labels = FeedLabels { feed: self.site.settings.name.to_string() };
        metrics.notices_stored.get_or_create(&labels).inc_by((receipts.len() - duplicates) as u64);
        metrics.notices_duplicate.get_or_create(&labels).inc_by(duplicates as u64);
        self.site.count(outcome.as_str());
        tracing::info!(
            file = file.name,
            notices = receipts.len(),
            duplicates,
            hash = hash.short(),
            "{}",
            outcome.as_str()
        );
        let day = self.site.settings.naming.read(&file.name).date;
        // The same once more, without a day, is not the next day's.
        if let Some(arrivals) =
            self.memory.arrivals.as_mut().filter(|_| !is_bad && (outcome == Outcome::Taken || day.is_some()))
        {
            arrivals.came(day, self.site.context.clock.now());
            self.tell_what_is_late();
        }
        // A file that we could not read stays where its sender can look at it.
        let is_settled = is_bad || self.site.settings.after == After::Leave;
        let version = Version { stamp: file.stamp.clone(), hash: hash.as_str().to_owned(), is_settled };
        self.remember(&file.name, version.clone())?;
        let ids: Vec<_> = receipts.iter().map(Receipt::notice).collect();
        if !is_settled {
            self.tell_source(&file, &version, source).await?;
        }
        metrics.notices_settled.get_or_create(&labels).inc_by(ids.len() as u64);
        if let Err(error) = self.inbox.settled(ids, self.site.context.clock.now()).await {
            tracing::warn!(%error, "the inbox could not note what was settled");
        }
        Ok(())
    }

    /// Moves or deletes a file that is stored, unless it is another one by now.
    pub(super) async fn tell_source(
        &mut self,
        file: &Listed,
        version: &Version,
        source: &mut dyn Source,
    ) -> Result<(), Trouble> {
        let there: Option<Stamp> = source.stat(&file.name).await?;
        if there.as_ref().is_some_and(|stamp| *stamp != version.stamp) {
            return Ok(());
        }
        let settings = &self.site.settings;
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
        self.memory.taken.forget(&file.name).map_err(|error| spool_trouble(self.spool.folder(), error).into())
    }

    /// Lateness is a part's condition, a figure, and a line of the log when it changes.
    pub(super) fn tell_what_is_late(&self) {
        let Some(arrivals) = &self.memory.arrivals else { return };
        let now = self.site.context.clock.now();
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
        self.site.context.health.set(&format!("arrivals of feed {}", self.site.settings.name), condition);
    }

    fn remember(&mut self, name: &str, version: Version) -> Result<(), Trouble> {
        let written = self.memory.taken.remember(name, version);
        written.map_err(|error| spool_trouble(self.spool.folder(), error).into())
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
