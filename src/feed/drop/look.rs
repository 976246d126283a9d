//! One look at the place after another: what is complete is taken, stored and settled.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::files::{Standing, standing};
use super::memory::Memory;
use super::source::{FILES_MAX, Listed, Source, SourceError};
use super::taker::{How, Taker, Took};
use super::trouble::{Trouble, spool_trouble};
use super::turn::{Turn, Turns};
use super::watch::{Decision, Incomplete, Watch};
use crate::ops::Heartbeat;

/// The loop promises a sign of life at least this often.
pub(super) const HEARTBEAT_MAX: Duration = Duration::from_secs(120);

/// After this many files that failed one after the other, the source itself is in trouble.
const FAILURES_MAX: usize = 3;

/// One process's look at the place, and what it remembers from look to look.
pub(super) struct Looker<'a> {
    pub(super) taker: Taker<'a>,
    pub(super) turns: Turns,
    pub(super) watch: Watch,
    /// What was told last of files that are not whole.
    pub(super) told: Incomplete,
}

impl Looker<'_> {
    /// Looks once at every file; says when a file wants to be looked at again before the next poll. One file's trouble
    /// does not keep the others waiting; the first is what is told.
    pub(super) async fn round(
        &mut self,
        heartbeat: &Heartbeat,
        stop: &CancellationToken,
    ) -> Result<Option<Instant>, Trouble> {
        let Some(_turn) = self.turn(heartbeat, stop).await? else { return Ok(None) };
        let mut source = alive(heartbeat, self.taker.site.way.connect()).await?;
        let looked = self.look(&mut *source, heartbeat, stop).await;
        source.leave().await;
        let incomplete = self.watch.incomplete();
        if incomplete != self.told {
            incomplete.save(self.taker.spool.folder());
            self.told = incomplete;
        }
        looked
    }

    /// Our turn at the spool; `None` when it is time to stop. What somebody did by hand since the last one is read.
    async fn turn(&mut self, heartbeat: &Heartbeat, stop: &CancellationToken) -> Result<Option<Turn>, SourceError> {
        let settings = &self.taker.site.settings;
        let turn = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            turn = alive(heartbeat, self.turns.wait()) => turn,
        };
        let turn = turn.map_err(|error| spool_trouble(&settings.spool, error))?;
        if !turn.is_news {
            return Ok(Some(turn));
        }
        let (of, now) = (settings.clone(), self.taker.site.context.clock.now());
        let read = tokio::task::spawn_blocking(move || (Memory::open(&of, now, &turn), turn));
        let (memory, turn) = read.await.map_err(|error| SourceError::trouble("the spool", error))?;
        self.taker.memory = memory?;
        Ok(Some(turn))
    }

    async fn look(
        &mut self,
        source: &mut dyn Source,
        heartbeat: &Heartbeat,
        stop: &CancellationToken,
    ) -> Result<Option<Instant>, Trouble> {
        let listed = alive(heartbeat, source.list(FILES_MAX)).await?;
        let settings = &self.taker.site.settings;
        if listed.len() == FILES_MAX {
            let source = settings.source.to_string();
            tracing::warn!(
                source,
                "no more than {FILES_MAX} files of a folder are looked at, and it holds as many: move away or delete what \
                 is taken (`after`), or have the sender use another folder"
            );
        }
        let there: HashSet<&str> = listed.iter().map(|file| file.name.as_str()).collect();
        self.watch.keep_only(&there);
        let kept = self.taker.memory.taken.keep_only(&there);
        kept.map_err(|error| spool_trouble(&settings.spool, error))?;
        let is_wanted = |file: &&Listed| {
            let marker = settings.marker.as_deref();
            standing(&settings.files, marker, &file.name, |name| there.contains(name)) == Standing::Wanted
        };
        let mut wanted: Vec<&Listed> = listed.iter().filter(is_wanted).collect();
        // Oldest first: so they are stored in the order in which they were laid down.
        wanted.sort_by_key(|file| (file.stamp.modified_ms, &file.name));
        let mut next: Option<Instant> = None;
        let mut troubles: Vec<Trouble> = Vec::new();
        let mut failures = 0;
        for file in wanted {
            if stop.is_cancelled() || failures == FAILURES_MAX {
                break;
            }
            if self.turns.is_wanted().map_err(|error| spool_trouble(&settings.spool, error))? {
                // After somebody took a file by hand, this listing is an old one.
                next = Some(Instant::now());
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

    /// Does what is due for one file; says when it wants to be looked at again.
    async fn see_to(&mut self, file: &Listed, source: &mut dyn Source) -> Result<Option<Instant>, Trouble> {
        let settings = &self.taker.site.settings;
        if let Some(version) = self.taker.memory.taken.get(&file.name).filter(|version| version.stamp == file.stamp) {
            if !version.is_settled {
                let version = version.clone();
                self.taker.tell_source(file, &version, source).await?;
            }
            return Ok(None);
        }
        let as_it_is = match self.watch.decide(file, Instant::now(), settings.stable_for, settings.incomplete_for) {
            Decision::Wait(until) => return Ok(Some(until)),
            Decision::Take => false,
            Decision::TakeAsItIs => true,
        };
        match self.taker.take(file, source, How { as_it_is, again: None }).await? {
            Took::Changed => {
                tracing::debug!(file = file.name, "it changed while it was copied");
                self.taker.site.count("changed");
                self.watch.start_over(&file.name);
                Ok(Some(Instant::now() + settings.stable_for))
            }
            Took::NotWhole(reason) => {
                tracing::info!(file = file.name, reason, "not whole yet; waiting for the rest");
                self.taker.site.count("incomplete");
                self.watch.not_whole(&file.name, reason, Instant::now(), settings.stable_for);
                Ok(None)
            }
            Took::Stored(stored) => {
                self.watch.start_over(&file.name);
                self.taker.settle(stored, source).await?;
                Ok(None)
            }
        }
    }

    pub(super) async fn sweep(&mut self, heartbeat: &Heartbeat, stop: &CancellationToken) -> Result<(), SourceError> {
        let Some(turn) = self.turn(heartbeat, stop).await? else { return Ok(()) };
        let Taker { site, inbox, spool, .. } = &self.taker;
        match spool.sweep(&site.settings.name, inbox, &turn).await {
            Ok(swept) if swept.removed > 0 => {
                tracing::info!(removed = swept.removed, kept_bytes = swept.kept_bytes, "swept the spool");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the spool could not be swept; trying again later"),
        }
        Ok(())
    }
}

/// Shows signs of life while `work` waits for something that may rightly take long and ends by itself.
pub(super) async fn alive<T>(heartbeat: &Heartbeat, work: impl Future<Output = T>) -> T {
    heartbeat.during(HEARTBEAT_MAX / 10, work).await
}
