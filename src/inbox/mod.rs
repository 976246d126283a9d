//! The inbox: the durable queue of notices and their deliveries.
//!
//! What always holds, for every implementation (the conformance suite checks it):
//!
//! 1. [`Inbox::store`] returns only after the commit that holds the batch is on disk. A [`Receipt`] cannot be made
//!    anywhere else, and a feed can settle nothing without one.
//! 2. A notice is stored once per `(feed, dedupe key)`; a second arrival is counted.
//! 3. At most one worker holds a delivery at a time. A claim whose lease has run out may be taken over, and every
//!    write under the old claim then fails with [`InboxError::LeaseLost`] and changes nothing.
//! 4. Under [`Ordering::BlobType`] the unfinished deliveries of one lane, `(route, sink, blob type)`, are claimed in
//!    the order `(published, sequence, notice)`, one at a time; under [`OnPoison::Stop`] none while one is quarantined.
//! 5. `read = delivered + filtered + parked + quarantined` holds for every delivery that is stored as done.
//! 6. Unfinished and quarantined notices are never pruned, nor finished ones with parked or quarantined records.
//! 7. What is said of parked records in [`parking`].
//! 8. Whatever the machine's clock is set to: a wait lasts between half of its time and double, and nothing is given up,
//!    let go or pruned before half of its time ([`crate::steady`]).
//!
//! ```text
//! notice    heard ──plan──> open ──────────────> finished        skipped: no route wants it, or the feed's filter
//!                              └───────────────> quarantined     quarantined: unreadable, or a delivery was
//! delivery            ready ──claim──> claimed ──finish──> done | quarantined
//!                       ^                 ├──retry──> ready, due later
//!                       └──lease lost─────┘
//! replay    finished | skipped | quarantined ──> heard, under a new run
//! ```
//!
//! [`Inbox`] is the daemon's side of it, [`Ledger`] the people's. What is said of a delivery on its way, from [`Plan`] over
//! [`Claim`] to [`Finish`], stands in `delivery.rs`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::UnixMs;
use crate::notice::{FeedName, HeardNotice, Notice, NoticeId, SinkName};

#[cfg(test)]
pub(crate) mod conformance;
mod delivery;
mod error;
mod events;
mod key_sorter;
pub mod ledger;
pub mod parking;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod stand_in;

pub use delivery::{
    Claim, ClaimKey, ClaimRequest, Claimed, DeliveryId, Finish, OnPoison, Ordering, Plan, Progress, RunId, Target,
};
pub use error::InboxError;
pub use events::EventIdentity;
pub use key_sorter::{KeySorter, SortedKeys};
pub use ledger::Ledger;
pub use parking::{
    AtDeadline, EntityChanges, EntityKey, Fate, Forget, Lookup, Orphan, ParkRules, ParkingBounds, Reference, Remarks,
    Tended, Woken,
};
pub use sqlite::SqliteInbox;

/// Proof that a notice is stored: made by an inbox alone, and asked for by whatever settles with a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    notice: NoticeId,
    duplicate: bool,
}

impl Receipt {
    /// Called by an inbox after its commit has returned.
    #[allow(dead_code, reason = "an inbox makes them")]
    pub(in crate::inbox) fn after_commit(notice: NoticeId, duplicate: bool) -> Self {
        Self { notice, duplicate }
    }

    /// The stored notice.
    #[must_use]
    pub fn notice(&self) -> NoticeId {
        self.notice
    }

    /// Whether the notice had been stored by an earlier arrival.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.duplicate
    }
}

/// Where notices are stored and deliveries are claimed. Writes are durable when they return.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// The present moment by the inbox's own clock, which does not jump when the machine's is set
    /// ([`crate::steady`]): leases, retries, deadlines and retention go by it.
    fn now(&self) -> UnixMs;

    /// Stores a batch in one commit (with fsync) and returns a receipt for each notice, in the same order.
    async fn store(&self, batch: Vec<HeardNotice>) -> Result<Vec<Receipt>, InboxError>;

    /// Records that the source has been told of these notices; shown by `longshore show`. Need not be durable.
    async fn settled(&self, notices: Vec<NoticeId>, at: UnixMs) -> Result<(), InboxError>;

    /// For each prefix, whether the feed has a notice that is kept, in any state, whose dedupe key begins with it: a feed
    /// that keeps content of its own beside the inbox lets go of what no notice needs any more.
    async fn holds(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<bool>, InboxError>;

    /// For each prefix, the dedupe keys of the feed's notices that begin with it and when those were published, the latest
    /// first, and no more than a few.
    async fn newest(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<Vec<(String, UnixMs)>>, InboxError>;

    /// Which of these events the feed has heard and still remembers, each in its place; see [`EventIdentity`]. Also those
    /// that are staged by `delivery`, whose sink holds them.
    async fn heard_events(
        &self,
        feed: FeedName,
        keys: Vec<EntityKey>,
        delivery: DeliveryId,
    ) -> Result<Vec<bool>, InboxError>;

    /// How far a feed has come with its source, in the feed's own words; `None` before it has come anywhere.
    async fn mark(&self, feed: &FeedName) -> Result<Option<String>, InboxError>;

    /// Writes that down. A feed does so only for what it has receipts of.
    async fn set_mark(&self, feed: &FeedName, mark: String) -> Result<(), InboxError>;

    /// When the oldest notice of the feed that is neither finished nor set aside was published.
    async fn oldest_unfinished(&self, feed: &FeedName) -> Result<Option<UnixMs>, InboxError>;

    /// Up to `limit` notices that have no plan yet, oldest first. Without their bodies, which planning does not need.
    async fn unplanned(&self, limit: usize) -> Result<Vec<Notice>, InboxError>;

    /// Stores plans in one commit: makes the deliveries. A notice that has a plan by now is left as it is.
    async fn plan(&self, plans: Vec<Plan>) -> Result<(), InboxError>;

    /// Claims the next delivery that is due and allowed, or says when to ask again.
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, InboxError>;

    /// Extends a claim's lease to `until`.
    async fn renew(&self, key: ClaimKey, until: UnixMs) -> Result<(), InboxError>;

    /// Stores how far the claimed delivery has come, and what was set aside and registered on the way, in one commit.
    /// Refused unless the account adds up so far.
    async fn progress(&self, key: ClaimKey, progress: Progress, remarks: Remarks) -> Result<(), InboxError>;

    /// Ends a claim; `remarks` holds what came up since the last [`Inbox::progress`]. It is kept with [`Finish::Done`],
    /// and what was set aside with [`Finish::Quarantine`]; otherwise the next attempt reads those records again.
    async fn finish(&self, key: ClaimKey, finish: Finish, remarks: Remarks) -> Result<(), InboxError>;

    /// Which of these keys are known to the sink, each in its place. Read beside the writer: what is missing is for
    /// [`Inbox::park`] to decide.
    async fn known(&self, sink: SinkName, lookups: Vec<Lookup>) -> Result<Vec<Vec<bool>>, InboxError>;

    /// What earlier attempts of the delivery decided about the records `first` to `last`, by number.
    async fn decided(&self, delivery: DeliveryId, first: u64, last: u64) -> Result<Vec<(u64, Fate)>, InboxError>;

    /// Decides about records of the claimed delivery whose parent is missing, in one commit that looks again. A
    /// decision comes into force when the delivery ends; until then the next attempt finds it by [`Inbox::decided`].
    async fn park(&self, key: ClaimKey, rules: ParkRules, orphans: Vec<Orphan>) -> Result<Vec<Fate>, InboxError>;

    /// Forgets what earlier attempts of the claimed delivery left. One bounded step; returns whether there may be more.
    async fn forget_attempts(&self, key: ClaimKey, what: Forget) -> Result<bool, InboxError>;

    /// Does what parking has to do by itself, in one bounded step: brings decisions of ended deliveries into force,
    /// wakes what waited, and sees to deadlines and bounds. Costs next to nothing when there is nothing to do.
    async fn tend(&self) -> Result<Tended, InboxError>;

    /// Resolves when something may have become claimable or plannable since the last call, through this handle or, a
    /// little later, by another process. One caller that claims until there is nothing and then waits misses nothing;
    /// of several, all that wait are woken.
    async fn changed(&self);
}

/// The inbox as the parts share it.
pub type SharedInbox = Arc<dyn Inbox>;

/// Settings of the inbox.
#[derive(Clone, Debug)]
pub struct InboxSettings {
    /// The database file.
    pub path: std::path::PathBuf,
    /// How long finished and skipped notices are kept.
    pub retention_age: Duration,
    /// At which size of the database the oldest finished notices are pruned early, in bytes; `None` for no bound.
    pub retention_bytes: Option<u64>,
    /// For how long after its last arrival a notice is known by its key at least, also when it was pruned early.
    pub dedupe_age: Duration,
    /// The largest number of notices in one commit.
    pub commit_notices_max: usize,
    /// How much may be parked.
    pub parking: ParkingBounds,
}
