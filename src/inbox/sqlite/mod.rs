//! The inbox in one SQLite file: no server, and a commit is one fsync.
//!
//! What always holds here, besides the contract of [`crate::inbox`]:
//!
//! 1. One thread writes; it commits what waits together (`writer`). Another brings the log to disk and gives the answers
//!    after that (`syncer`), while the next group runs. What is read may not be on disk yet; but what is written after it
//!    never is without it, and whoever acts on what is read writes before or after.
//! 2. What is finished costs nothing: every index that a claim or the planner uses holds unfinished rows only, and
//!    opening reads the schema and one row, which says what the steady clock showed last.
//! 3. A reader never blocks the writer (write-ahead log), and holds a snapshot for one query only, so that the log can
//!    be reset. The log is moved into the database every 16 MiB, the bulk of it while the writer goes on (`mover`), and
//!    its file cut to 64 MiB.
//! 4. The file and its `-wal` and `-shm` are readable by their owner alone.
//! 5. After a failure of the disk nothing is answered before the log was checked and written again (`relog`).
//! 6. A feed has one notice of a key: not the schema sees to it but `store`, with the keys that are filed and those that
//!    wait (`keys`). Nothing else makes notices but waking, under keys of its own.
//!
//! ```text
//! store  claim  finish …            notices, show, status (also another process)
//!     \    |    /                          \    |    /
//!   bounded queue                       readers, at most 3
//!        |                                     |
//!   writer thread ── one transaction ──> log ──┴── database
//!        ├────────> syncer thread ── fsync ─┤          ^
//!        │                └── answers       │          │
//!        └────────> mover thread ───────────┴──────────┘
//! ```
//!
//! Several processes may use one file: SQLite's lock lets one write at a time, and each looks once a second whether
//! another has committed while somebody waits for a change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::MAIN_DB;

use super::{
    ClaimKey, ClaimRequest, Claimed, DeliveryId, EntityKey, EventIdentity, Fate, Finish, Forget, Inbox, InboxError,
    InboxSettings, KeySorter, Lookup, Orphan, ParkRules, ParkingBounds, Plan, Progress, Receipt, Remarks, Tended,
};
use crate::clock::{Clock, UnixMs};
use crate::fail_point::{FailPoint, reach};
use crate::notice::{FeedName, HeardNotice, Notice, NoticeId, SinkName};
use crate::steady::SteadyClock;

mod audit;
mod checkpoint;
mod claim;
mod daemons;
mod decide;
mod events;
mod fault;
mod finish;
mod held;
mod keys;
mod ledger;
mod marks;
mod mover;
mod outlived;
mod parking;
mod plan;
mod prune;
mod quarantine;
mod readers;
mod relog;
mod replay;
mod rows;
mod schema;
mod select;
mod settled;
mod store;
mod story;
mod summary;
mod syncer;
mod tally;
mod times;
mod writer;

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
pub(crate) mod hand;
#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod sync_tests;
#[cfg(test)]
mod tests;

use fault::Fault;
use keys::WaitingKeys;
use readers::Readers;
use syncer::SyncLog;
use writer::{DURABLE, Nature, Outcome, Writer};

/// How often a waiting process looks for commits of others. Shorter wakes an idle machine for nothing; longer makes
/// `longshore work` start late after `longshore listen` in another process has stored something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An inbox in an SQLite file. Dropping it waits until its queue is empty and its file is closed.
#[derive(Debug)]
pub struct SqliteInbox {
    // Closed in this order: who closes the file last moves its log into it, and only the writer does that.
    readers: Readers,
    /// Readers of keys alone: what people ask never keeps a delivery waiting.
    lookers: Readers,
    writer: Writer,
    path: PathBuf,
    is_read_only: bool,
    clock: SteadyClock,
    notices_max: usize,
    parking: ParkingBounds,
    /// What the next batch is compared with, besides what is filed.
    keys: WaitingKeys,
    /// What the lookers found known.
    confirmed: Arc<parking::Confirmed>,
    /// The last change that [`Inbox::changed`] has told of.
    told: AtomicU64,
    /// Which event a notice carries, where that is asked for.
    identity: Option<Arc<dyn EventIdentity>>,
}

impl SqliteInbox {
    /// Opens the inbox, and makes or migrates its file where that is needed. Reads one row, so that the size of the
    /// inbox does not matter. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`InboxError::NewerSchema`], [`InboxError::Unusable`] if the file cannot be an inbox, [`InboxError::DiskFull`],
    /// or [`InboxError::Unavailable`] if another process held it for too long.
    pub fn open(settings: &InboxSettings, clock: Arc<dyn Clock>) -> Result<Self, InboxError> {
        Self::open_on(settings, clock, keys::WAITING_MAX, syncer::sync_log)
    }

    fn open_on(
        settings: &InboxSettings,
        clock: Arc<dyn Clock>,
        keys_waiting_max: usize,
        sync_log: impl FnOnce(&Path) -> io::Result<SyncLog>,
    ) -> Result<Self, InboxError> {
        // A process that could not bring it to disk may have left it behind.
        let has_log = checkpoint::log_bytes(&settings.path) > 0;
        let connection = schema::prepare(&settings.path)?;
        let last = times::last(&connection).map_err(|fault| fault.into_error(&settings.path))?;
        let is_read_only =
            connection.is_readonly(MAIN_DB).map_err(|error| Fault::from(error).into_error(&settings.path))?;
        let disk = sync_log(&settings.path).map_err(|error| schema::of_io(&settings.path, &error))?;
        let keys = WaitingKeys::new(keys_waiting_max);
        Ok(Self {
            readers: Readers::new(settings.path.clone()),
            lookers: Readers::new(settings.path.clone()),
            writer: Writer::start(connection, settings.path.clone(), has_log, disk, keys.clone())?,
            keys,
            path: settings.path.clone(),
            is_read_only,
            clock: SteadyClock::new(clock, last),
            notices_max: settings.commit_notices_max.max(1),
            parking: settings.parking,
            confirmed: Arc::default(),
            told: AtomicU64::new(0),
            identity: None,
        })
    }

    /// The same inbox, if it can be written at all: one on a read-only disk can be opened to look at, where its log was
    /// left behind.
    ///
    /// # Errors
    /// [`InboxError::Unusable`] if not even its owner may write.
    pub fn for_writing(self) -> Result<Self, InboxError> {
        if self.is_read_only { Err(schema::read_only(&self.path)) } else { Ok(self) }
    }

    /// The same inbox, which remembers events from now on.
    #[must_use]
    pub fn remembering(self, identity: Arc<dyn EventIdentity>) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// Sorts keys for [`Ledger::entities_import`](super::Ledger::entities_import); what memory does not hold lies beside
    /// the inbox.
    #[must_use]
    pub fn sorter(&self) -> KeySorter {
        KeySorter::new(self.path.parent().unwrap_or(Path::new("")))
    }
}

#[async_trait]
impl Inbox for SqliteInbox {
    fn now(&self) -> UnixMs {
        self.clock.now()
    }

    async fn store(&self, batch: Vec<HeardNotice>) -> Result<Vec<Receipt>, InboxError> {
        if batch.len() > self.notices_max {
            return Err(InboxError::TooMany { notices: batch.len(), notices_max: self.notices_max });
        }
        let now = self.clock.now();
        let events: Vec<_> = self.identity.iter().flat_map(|one| batch.iter().map(|heard| one.key(heard))).collect();
        let keys = self.keys.clone();
        let store = move |connection: &_| store::store(connection, &mut keys.lock(), &batch, &events, now);
        let stored = self.writer.run(DURABLE, store).await?;
        Ok(stored.into_iter().map(|(notice, duplicate)| Receipt::after_commit(notice, duplicate)).collect())
    }

    async fn settled(&self, notices: Vec<NoticeId>, at: UnixMs) -> Result<(), InboxError> {
        let nature = Nature { durable: false, skip_if_abandoned: false };
        self.writer.run(nature, move |connection| settled::settle(connection, notices, at)).await
    }

    async fn holds(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<bool>, InboxError> {
        let held = self.readers.run(move |connection| store::holds(connection, &feed, &prefixes)).await?;
        // Who is told no lets go of something for good: what was pruned must not come back after that.
        if held.contains(&false) {
            self.writer.run(DURABLE, |_| Ok(Outcome::quiet(()))).await?;
        }
        Ok(held)
    }

    async fn newest(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<Vec<(String, UnixMs)>>, InboxError> {
        self.readers.run(move |connection| store::newest(connection, &feed, &prefixes)).await
    }

    async fn heard_events(
        &self,
        feed: FeedName,
        keys: Vec<EntityKey>,
        delivery: DeliveryId,
    ) -> Result<Vec<bool>, InboxError> {
        self.lookers.run(move |connection| events::heard(connection, &feed, &keys, delivery)).await
    }

    async fn mark(&self, feed: &FeedName) -> Result<Option<String>, InboxError> {
        let feed = feed.clone();
        self.readers.run(move |connection| marks::mark(connection, &feed)).await
    }

    async fn set_mark(&self, feed: &FeedName, mark: String) -> Result<(), InboxError> {
        let (feed, now) = (feed.clone(), self.clock.now());
        self.writer.run(DURABLE, move |connection| marks::set_mark(connection, &feed, &mark, now)).await
    }

    async fn oldest_unfinished(&self, feed: &FeedName) -> Result<Option<UnixMs>, InboxError> {
        let feed = feed.clone();
        self.readers.run(move |connection| marks::oldest_unfinished(connection, &feed)).await
    }

    async fn unplanned(&self, limit: usize) -> Result<Vec<Notice>, InboxError> {
        self.readers.run(move |connection| plan::unplanned(connection, limit)).await
    }

    async fn plan(&self, plans: Vec<Plan>) -> Result<(), InboxError> {
        let now = self.clock.now();
        self.writer.run(DURABLE, move |connection| plan::plan(connection, &plans, now)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, InboxError> {
        let nature = Nature { durable: true, skip_if_abandoned: true };
        self.writer
            .run_or_undo(nature, move |connection| claim::claim(connection, &request), Some(claim::give_back))
            .await
    }

    async fn renew(&self, key: ClaimKey, until: UnixMs) -> Result<(), InboxError> {
        self.writer.run(DURABLE, move |connection| finish::renew(connection, key, until)).await
    }

    async fn progress(&self, key: ClaimKey, progress: Progress, remarks: Remarks) -> Result<(), InboxError> {
        self.writer.run(DURABLE, move |connection| finish::progress(connection, key, &progress, &remarks)).await
    }

    async fn finish(&self, key: ClaimKey, finish: Finish, remarks: Remarks) -> Result<(), InboxError> {
        let now = self.clock.now();
        self.writer.run(DURABLE, move |connection| finish::finish(connection, key, &finish, &remarks, now)).await
    }

    async fn known(&self, sink: SinkName, lookups: Vec<Lookup>) -> Result<Vec<Vec<bool>>, InboxError> {
        let confirmed = Arc::clone(&self.confirmed);
        self.lookers.run(move |connection| parking::known(connection, &confirmed, &sink, &lookups)).await
    }

    async fn decided(&self, delivery: DeliveryId, first: u64, last: u64) -> Result<Vec<(u64, Fate)>, InboxError> {
        self.lookers.run(move |connection| parking::decided(connection, delivery, first, last)).await
    }

    async fn park(&self, key: ClaimKey, rules: ParkRules, orphans: Vec<Orphan>) -> Result<Vec<Fate>, InboxError> {
        let (bounds, now) = (self.parking, self.clock.now());
        self.writer.run(DURABLE, move |connection| parking::park(connection, key, &rules, &orphans, bounds, now)).await
    }

    async fn forget_attempts(&self, key: ClaimKey, what: Forget) -> Result<bool, InboxError> {
        self.writer.run(DURABLE, move |connection| parking::forget_attempts(connection, key, &what)).await
    }

    async fn tend(&self) -> Result<Tended, InboxError> {
        let (bounds, now) = (self.parking, self.clock.now());
        let look = move |connection: &_| parking::look_for_work(connection, bounds, now);
        let (has_work, next_deadline) = self.lookers.run(look).await?;
        if !has_work {
            return Ok(Tended { next_deadline, ..Tended::default() });
        }
        reach(FailPoint::Waking);
        self.writer.run(DURABLE, move |connection| parking::tend(connection, bounds, now)).await
    }

    async fn changed(&self) {
        let mut changes = self.writer.changes().subscribe();
        let tell = |change: u64| self.told.fetch_max(change, Ordering::SeqCst) < change;
        let change = *changes.borrow_and_update();
        if tell(change) {
            return;
        }
        loop {
            tokio::select! {
                // The sender lives as long as `self`.
                _ = changes.changed() => {
                    let change = *changes.borrow_and_update();
                    tell(change);
                    return;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    self.writer.look();
                    self.confirmed.rest();
                }
            }
        }
    }
}
