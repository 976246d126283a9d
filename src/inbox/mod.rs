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
//! [`Inbox`] is the daemon's side of it, [`Ledger`] the people's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::error::{Class, Classify};
use crate::notice::{FeedName, HeardNotice, Notice, NoticeId, RouteName, SinkName};
use crate::record::Counts;

#[cfg(test)]
pub(crate) mod conformance;
mod events;
mod key_sorter;
pub mod ledger;
pub mod parking;
pub mod sqlite;

pub use events::EventIdentity;
pub use key_sorter::{KeySorter, SortedKeys};
pub use ledger::Ledger;
pub use parking::{
    AtDeadline, EntityChanges, EntityKey, Fate, Forget, Lookup, Orphan, ParkRules, ParkingBounds, Reference, Remarks,
    Tended, Woken,
};
pub use sqlite::SqliteInbox;

/// A delivery's number in the inbox: one notice on one route to one of its sinks, in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(pub i64);

/// Which run a delivery belongs to: 0 for the first, a number of its own for each replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

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

/// What the routes make of one notice that no worker has looked at yet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The notice.
    pub notice: NoticeId,
    /// Where it goes. With no target at all, the notice is skipped for `skip_reason`.
    pub targets: Vec<Target>,
    /// Why there is no target.
    pub skip_reason: String,
}

/// One route and one of its sinks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Target {
    /// The route.
    pub route: RouteName,
    /// The sink.
    pub sink: SinkName,
}

/// In which order the files of one blob type are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ordering {
    /// In published order, one at a time on each route and sink.
    #[default]
    BlobType,
    /// In any order, as many at a time as the limits allow.
    None,
}

/// What becomes of the files behind one that is quarantined, where they are delivered in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPoison {
    /// They go on without it.
    #[default]
    Quarantine,
    /// They wait until a person has decided about it. Other blob types, routes and sinks go on.
    Stop,
}

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Who asks, such as `longshore-4711/2`; shown to people.
    pub worker: String,
    /// For how long the claim is held unless renewed.
    pub lease: Duration,
    /// The present moment, by [`Inbox::now`].
    pub now: UnixMs,
    /// In which order deliveries are given out.
    pub ordering: Ordering,
    /// Whether a quarantined delivery holds up its lane, under [`Ordering::BlobType`].
    pub on_poison: OnPoison,
    /// How many deliveries of one blob type may be claimed at once.
    pub per_blob_type_max: usize,
}

/// A worker's time-limited hold on a delivery.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The key under which the claim's writes are made.
    pub key: ClaimKey,
    /// The notice.
    pub notice: Notice,
    /// Where it goes.
    pub target: Target,
    /// The run it belongs to.
    pub run: RunId,
    /// Which attempt this is, from 1. Attempts that used up nothing do not count.
    pub attempt: u32,
    /// How often a claim on this delivery was lost with its lease, as when a process died. Uses up no attempt.
    pub lost: u32,
    /// When this run's delivery was first made ready: the retry budget counts from here.
    pub since: UnixMs,
    /// What earlier attempts had confirmed.
    pub progress: Progress,
    /// Whether earlier attempts left decisions about orphans, or staged keys, that are not in force yet.
    pub has_leftovers: bool,
    /// For a woken notice: where its records came from.
    pub woken: Option<Woken>,
}

/// Names a delivery and the one claim on it that may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimKey {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The claim's number; a later claim on the same delivery has a larger one.
    pub claim: i64,
}

/// How far a delivery has come: what a next attempt need not do again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of the last record that is confirmed, with all before it; 0 for none.
    pub confirmed: u64,
    /// The account up to there.
    pub counts: Counts,
    /// Of the filtered records, those whose event was known.
    pub known: u64,
    /// Decompressed bytes read.
    pub bytes: u64,
}

/// How a claim ends.
#[derive(Clone, Debug)]
pub enum Finish {
    /// Every record is accounted for.
    Done {
        /// The final account; refused unless balanced.
        progress: Progress,
        /// Where the records went, such as a path or an address without secrets.
        location: String,
    },
    /// To be tried again.
    Retry {
        /// Not before this moment.
        due: UnixMs,
        /// The class of what went wrong.
        class: Class,
        /// What went wrong, redacted.
        error: String,
        /// Whether this uses up an attempt.
        uses_attempt: bool,
        /// Whether more was confirmed since the delivery was claimed: its attempts count anew.
        has_progressed: bool,
    },
    /// Set aside until a person decides.
    Quarantine {
        /// The class of what went wrong.
        class: Class,
        /// What went wrong, redacted.
        error: String,
    },
    /// Given back untouched, as when the daemon stops: ready at once, no attempt used.
    Release,
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

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed {
    /// A delivery.
    Delivery(Box<Claim>),
    /// Nothing is due. Holds the moment at which the next one will be, if one waits.
    Nothing {
        /// When to ask again; `None` when nothing waits for time.
        next_due: Option<UnixMs>,
        /// Whether any unfinished delivery or unplanned notice exists (also claimed by others), but for those that wait
        /// in a lane that is held up.
        unfinished: bool,
        /// Whether something is claimed (also by others), unplanned, or for parking to do: then more may become due without
        /// any wait.
        busy: bool,
        /// How many lanes with unfinished deliveries are held up by a quarantined one.
        stopped_lanes: u64,
    },
}

/// Why the inbox could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InboxError {
    /// The claim's lease ran out and another worker may have taken over; nothing was written.
    #[error("the lease on delivery {} was lost", .0.delivery.0)]
    LeaseLost(ClaimKey),
    /// The disk is full; nothing was written.
    #[error("no room left for the inbox {path}: free some space; hearing goes on by itself then")]
    DiskFull {
        /// The inbox.
        path: String,
    },
    /// The inbox is busy, locked or failing for now; nothing was written.
    #[error("the inbox {path} did not answer: {reason}")]
    Unavailable {
        /// The inbox.
        path: String,
        /// What was said.
        reason: String,
    },
    /// The inbox cannot be used at all.
    #[error("the inbox {path} cannot be used: {reason}")]
    Unusable {
        /// The inbox.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The inbox was written by a newer Longshore.
    #[error(
        "the inbox {path} has schema version {found}, this longshore knows up to {known}: install the newer version again, or name another inbox"
    )]
    NewerSchema {
        /// The inbox.
        path: String,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// A batch is larger than one commit may be; nothing was written.
    #[error("a batch of {notices} notices is more than the {notices_max} of one commit")]
    TooMany {
        /// Notices in the batch.
        notices: usize,
        /// [`InboxSettings::commit_notices_max`].
        notices_max: usize,
    },
    /// A selection of notices cannot be understood.
    #[error("the blob type glob cannot be understood: {reason}")]
    BadSelector {
        /// The glob, and what is wrong with it.
        reason: String,
    },
    /// An account does not add up; nothing was written.
    #[error("the account of delivery {} does not add up: {counts:?}", .delivery.0)]
    Unbalanced {
        /// The delivery.
        delivery: DeliveryId,
        /// Its counts.
        counts: Counts,
    },
}

impl Classify for InboxError {
    fn class(&self) -> Class {
        match self {
            Self::DiskFull { .. } => Class::DiskFull,
            Self::LeaseLost(_) | Self::Unavailable { .. } => Class::Transient,
            Self::Unusable { .. }
            | Self::NewerSchema { .. }
            | Self::TooMany { .. }
            | Self::BadSelector { .. }
            | Self::Unbalanced { .. } => Class::Permanent,
        }
    }
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
