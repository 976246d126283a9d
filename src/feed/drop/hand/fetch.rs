//! One file of a drop taken by hand, now: as the feed takes it, in a turn beside it. The rules of what is complete hold.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;

use super::error::{HandError, TURN_MAX};
use super::holding::ByHand;
use crate::feed::drop::files::{Standing, standing};
use crate::feed::drop::key::{ContentHash, file_of, key_prefix};
use crate::feed::drop::memory::Memory;
use crate::feed::drop::source::{After, Listed, Source};
use crate::feed::drop::spool::Spool;
use crate::feed::drop::take::{Outcome, Stored};
use crate::feed::drop::taken::{self, Version};
use crate::feed::drop::taker::{How, Taker, Took};
use crate::feed::drop::trouble::spool_trouble;
use crate::feed::drop::turn::Turns;
use crate::inbox::ledger::{Ledger, NoticeState, Selector};
use crate::inbox::{Receipt, SharedInbox, SqliteInbox};
use crate::notice::NoticeId;

/// A wait for the turn that is told.
const TURN_TOLD: Duration = Duration::from_secs(1);

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The file's name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether the daemon was first.
    pub by_daemon: bool,
    /// Its notices; none, if the inbox has let go of them.
    pub notices: Vec<(NoticeId, NoticeState)>,
    /// What became of it at the source.
    pub left: Left,
}

/// What became of a file at its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// It stays there.
    Stays,
    /// It was moved to this folder.
    Moved(String),
    /// It was deleted.
    Deleted,
    /// It was to be moved or deleted, and that did not work; the feed tries again.
    Untold(String),
}

impl ByHand {
    /// Takes the file called `name` as the feed would, once it has stood still; with `again` also a version that was
    /// taken before, as new notices. Goes before the daemon, where one runs: it waits for the end of a file that it is
    /// at, and then for us. `say` is told what is waited for.
    ///
    /// # Errors
    /// Why it was not taken. Nothing was done then, except where the trouble is the inbox's or the spool's: the same
    /// again is then no second notice.
    pub async fn fetch(
        &self,
        name: &str,
        again: bool,
        inbox: Arc<SqliteInbox>,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<Fetched, HandError> {
        let settings = &self.0.settings;
        is_ours(&settings.spool)?;
        let first = self.find(name, self.listed().await?)?;
        let known = taken::read(&settings.spool).map_err(|error| spool_trouble(&settings.spool, error))?;
        if let Some(version) = version_of(known.get(name), &first).filter(|_| !again) {
            let notices = self.notices_of(&*inbox, name, &version.hash).await?;
            return Err(HandError::Known { name: name.to_owned(), notices });
        }
        let last = self.last_notice(&*inbox, name).await?;
        if !settings.stable_for.is_zero() {
            say(&format!("watching {name:?} for {} s, whether it stands still", settings.stable_for.as_secs_f32()));
            tokio::time::sleep(settings.stable_for).await;
        }
        let spool = Spool::beside(&settings.spool)?;
        let mut turns = Turns::open(&settings.spool).map_err(|error| spool_trouble(&settings.spool, error))?;
        let turn = {
            let mut waiting = std::pin::pin!(turns.wait_by_hand(TURN_MAX));
            let turn = match tokio::time::timeout(TURN_TOLD, waiting.as_mut()).await {
                Ok(turn) => turn,
                Err(_) => {
                    say("the daemon is taking a file; waiting for its end");
                    waiting.await
                }
            };
            turn.map_err(|error| spool_trouble(&settings.spool, error))?
        };
        let Some(turn) = turn else { return Err(HandError::Busy { name: name.to_owned() }) };
        spool.clear(&turn).map_err(|error| spool_trouble(&settings.spool, error))?;
        let memory = Memory::open(settings, self.0.context.clock.now(), &turn)?;
        let shared = Arc::clone(&inbox) as SharedInbox;
        let mut taker = Taker { site: &self.0, inbox: &shared, spool, memory, late: Arc::default() };
        let mut source = self.0.way.connect().await?;
        let fetched = self.take(&first, again, last, &inbox, &mut taker, &mut *source).await;
        source.leave().await;
        // A draft that was not kept; what cannot be removed now goes with the next sweep.
        if let Err(error) = taker.spool.clear(&turn) {
            say(&format!("{} could not be tidied: {error}", settings.spool.display()));
        }
        fetched
    }

    /// Takes the file in our turn, if it is still the one that was seen first.
    async fn take(
        &self,
        first: &Listed,
        again: bool,
        last: Option<NoticeId>,
        inbox: &SqliteInbox,
        taker: &mut Taker<'_>,
        source: &mut dyn Source,
    ) -> Result<Fetched, HandError> {
        let name = &first.name;
        let incomplete = |why: String| Err(HandError::Incomplete { name: name.clone(), why });
        let there = source.stat(name).await?;
        let version = version_of(taker.memory.taken.get(name), first).cloned();
        if (there.is_none() || version.is_some()) && !again {
            // The daemon saw it stand still, too, and was first.
            return self.taken_meanwhile(first, version.as_ref(), last, inbox).await;
        }
        match there {
            None => return Err(HandError::Gone { name: name.clone() }),
            Some(stamp) if stamp != first.stamp => {
                let (before, now) = (first.stamp.size, stamp.size);
                return incomplete(format!("it changed while it was watched (from {before} to {now} bytes)"));
            }
            Some(_) => {}
        }
        let how = How { as_it_is: false, again: again.then(|| self.0.context.clock.now()) };
        let stored = match taker.take(first, source, how).await? {
            Took::Changed => return incomplete("it changed while it was copied".to_owned()),
            Took::NotWhole(reason) => return incomplete(reason),
            Took::Stored(stored) => stored,
        };
        self.settle(stored, inbox, taker, source).await
    }

    async fn settle(
        &self,
        stored: Stored,
        inbox: &SqliteInbox,
        taker: &mut Taker<'_>,
        source: &mut dyn Source,
    ) -> Result<Fetched, HandError> {
        let Listed { name, stamp } = stored.file.clone();
        let outcome = stored.outcome();
        let ids: Vec<NoticeId> = stored.receipts.iter().map(Receipt::notice).collect();
        let told = taker.settle(stored, source).await;
        let is_left = taker.memory.taken.get(&name).is_some();
        let left = match (told, &self.0.settings.after) {
            (Err(trouble), _) => Left::Untold(trouble.to_string()),
            (Ok(()), After::Move(folder)) if !is_left => Left::Moved(folder.clone()),
            (Ok(()), After::Delete) if !is_left => Left::Deleted,
            (Ok(()), _) => Left::Stays,
        };
        let notices = states(inbox, ids).await?;
        Ok(Fetched { bytes: stamp.size, name, outcome, by_daemon: false, notices, left })
    }

    /// What the daemon made of a file while we waited.
    async fn taken_meanwhile(
        &self,
        file: &Listed,
        version: Option<&Version>,
        last: Option<NoticeId>,
        inbox: &SqliteInbox,
    ) -> Result<Fetched, HandError> {
        let is_new = |(notice, _): &(NoticeId, NoticeState)| last.is_none_or(|last| *notice > last);
        let notices = match version {
            Some(version) => self.notices_of(inbox, &file.name, &version.hash).await?,
            None => {
                let mut notices = self.notices_named(inbox, &file.name, None).await?;
                notices.retain(is_new);
                notices
            }
        };
        if version.is_none() && notices.is_empty() {
            return Err(HandError::Gone { name: file.name.clone() });
        }
        let outcome = match notices.iter().any(is_new) {
            false => Outcome::Duplicate,
            true if notices.iter().any(|(_, state)| *state == NoticeState::Quarantined) => Outcome::Quarantined,
            true => Outcome::Taken,
        };
        let left = match (&self.0.settings.after, version) {
            (After::Move(folder), None) => Left::Moved(folder.clone()),
            (After::Delete, None) => Left::Deleted,
            _ => Left::Stays,
        };
        Ok(Fetched { name: file.name.clone(), bytes: file.stamp.size, outcome, by_daemon: true, notices, left })
    }

    /// The file as it is listed, if it may be taken. A person asked for it: its name need not be among `files`.
    fn find(&self, name: &str, listed: Vec<Listed>) -> Result<Listed, HandError> {
        let settings = &self.0.settings;
        let is_there = |other: &str| listed.iter().any(|file| file.name == other);
        if !is_there(name) {
            return Err(HandError::NoFile { name: name.to_owned(), place: settings.source.to_string() });
        }
        match standing(&settings.files, settings.marker.as_deref(), name, is_there) {
            Standing::Wanted | Standing::NotNamed => {}
            Standing::Ignored(why) => return Err(HandError::Ignored { name: name.to_owned(), why }),
            Standing::Unmarked(marker) => {
                let why = format!("its marker {marker} is not there");
                return Err(HandError::Incomplete { name: name.to_owned(), why });
            }
        }
        let found = listed.into_iter().find(|file| file.name == name);
        found.ok_or_else(|| HandError::Gone { name: name.to_owned() })
    }

    /// The notices of a content under a name.
    async fn notices_of(
        &self,
        inbox: &dyn Ledger,
        name: &str,
        hash: &str,
    ) -> Result<Vec<(NoticeId, NoticeState)>, HandError> {
        let Some(hash) = ContentHash::parse(hash) else { return Ok(Vec::new()) };
        let found = inbox.states_under(self.0.settings.name.clone(), vec![key_prefix(&hash)]).await?;
        let own = found.into_iter().flatten().filter(|kept| file_of(&kept.dedupe_key) == Some(name));
        let mut notices: Vec<_> = own.map(|kept| (kept.notice, kept.state)).collect();
        notices.sort_by_key(|(notice, _)| *notice);
        Ok(notices)
    }

    async fn notices_named(
        &self,
        inbox: &dyn Ledger,
        name: &str,
        limit: Option<usize>,
    ) -> Result<Vec<(NoticeId, NoticeState)>, HandError> {
        let selector = Selector {
            feeds: vec![self.0.settings.name.clone()],
            correlation_ids: vec![name.to_owned()],
            limit,
            ..Selector::default()
        };
        let lines = inbox.notices(selector).await?.into_iter().rev();
        Ok(lines.filter(|line| line.woken_from.is_none()).map(|line| (line.id, line.state)).collect())
    }

    /// The latest notice of any file of that name.
    async fn last_notice(&self, inbox: &dyn Ledger, name: &str) -> Result<Option<NoticeId>, HandError> {
        Ok(self.notices_named(inbox, name, Some(1)).await?.last().map(|(notice, _)| *notice))
    }
}

/// The version that was taken, if the file is that one.
fn version_of<'v>(version: Option<&'v Version>, file: &Listed) -> Option<&'v Version> {
    version.filter(|version| version.stamp == file.stamp)
}

async fn states(inbox: &dyn Ledger, ids: Vec<NoticeId>) -> Result<Vec<(NoticeId, NoticeState)>, HandError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let lines = inbox.notices(Selector { ids, ..Selector::default() }).await?;
    Ok(lines.into_iter().rev().map(|line| (line.id, line.state)).collect())
}

/// Sees that what we write into the spool can be read by whoever looks after it.
fn is_ours(spool: &Path) -> Result<(), HandError> {
    use std::os::unix::fs::MetadataExt as _;
    let ours = geteuid().as_raw();
    match std::fs::metadata(spool) {
        Ok(found) if found.uid() != ours => {
            Err(HandError::Foreign { path: spool.display().to_string(), owner: found.uid(), ours })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(spool_trouble(spool, error).into()),
    }
}
