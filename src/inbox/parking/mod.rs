//! Parking: records whose parent is not known to their sink wait in the inbox until it is.
//!
//! What always holds, for every implementation (the conformance suite checks it):
//!
//! 1. **Known means confirmed.** A key is known to a sink once a record that carries it was confirmed by that sink,
//!    never when it was merely read. It is registered in the commit that stores the progress of its delivery; where a
//!    sink confirms at the end only, it is staged until that end. A crash between the sink's confirmation and that
//!    commit delivers the parent again, which sinks bear, and registers it then.
//! 2. **No child waits for a known parent.** All that registers, decides and parks goes through one writer, and each
//!    step looks again: whoever comes second sees the first. [`Inbox::park`](super::Inbox::park) looks before it decides,
//!    and a decision that comes into force looks once more.
//! 3. **A decision stands.** What [`Inbox::park`](super::Inbox::park) decided is part of the delivery's progress: the
//!    next attempt withholds the same records, also when their parent has landed meanwhile. Otherwise a batch would go
//!    out under the idempotency key of another content, and a receiver that knows the key would drop the difference.
//! 4. **In force at the end.** A decided record waits, is woken or comes to its deadline only once the delivery that
//!    read it is done. From then on that delivery's account changes by parking alone, so that
//!    `read = delivered + filtered + parked + quarantined` holds at every commit. A delivery that is set aside whole
//!    keeps its decisions for the person who releases it.
//! 5. **The count follows.** A parked record keeps the delivery that read it, however often it is woken and parked
//!    again. When it ends, that delivery's `parked` goes down and the outcome up, with the notice's withheld records
//!    and the hour's tally. A woken notice's own deliveries are in no total.
//! 6. **Replaced means gone.** The parked records of a delivery that a replay has replaced are never woken; those that
//!    are on their way are left out by the worker unless it has them in hand already.
//! 7. **Bounded.** Every step, [`Inbox::tend`](super::Inbox::tend) too, is one short commit. A million children of one
//!    parent never stand in one of them, nor in memory. Records and bytes parked have a bound ([`ParkingBounds`]).
//!
//! ```text
//!                    known? (readers)               landed meanwhile
//! batch ── check ─────────────────> missing ── park ────────────────> delivered after all
//!   │                                            └─> decided ──end of its delivery──> in force
//!   └── the rest ──> sink ──confirms──> progress + keys registered       parent known │ not
//!                                              │                                      │  v
//!                                              └── new key that is waited for ──> woken <─ waiting ── deadline, bound,
//!                                                                                  │                  release by hand
//!                   a notice with a body, to exactly that route and sink <─────────┘
//! ```
//!
//! A **woken notice** carries records of one notice, in the order of their numbers, and keeps its feed, blob type (the
//! records' own, where they have one),
//! correlation id, published time and sequence: a newer version of the record at the sink wins as over any late file,
//! and in an ordered lane it goes where its age puts it. It goes to one route and one sink, never through the planner,
//! and comes from [`Inbox::claim`](super::Inbox::claim) with [`Claim::woken`](super::Claim::woken). A record of it
//! whose parent is still missing is parked again, with the time and deadline that it had.
//!
//! A record that was set aside and is released goes the same way (it counts as parked until it ends): with a look at its
//! parents as the first time, unless it was set aside for want of them.
//!
//! Several parents must all be known; of the alternative keys of one parent, any. A cycle ends at its deadline.
//!
//! Left to the sink: a parent that is deleted at the very moment at which its child is delivered; which of two records
//! comes first that are delivered at the same moment on two lanes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::notice::{EntityName, NoticeId};
use crate::record::BadRecord;

mod key;

pub use key::EntityKey;

/// What is done with a parked record whose time is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtDeadline {
    /// It is set aside.
    #[default]
    Quarantine,
    /// It is delivered without its parent.
    Deliver,
}

impl AtDeadline {
    /// As it stands in the inbox and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Deliver => "deliver",
        }
    }

    /// What [`AtDeadline::as_str`] wrote; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Quarantine, Self::Deliver].into_iter().find(|one| one.as_str() == text)
    }
}

/// Keys of one entity that a worker asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The entity.
    pub entity: EntityName,
    /// Its keys, in any order, also twice.
    pub keys: Vec<EntityKey>,
}

/// What confirmed records say of one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityChanges {
    /// The entity.
    pub entity: EntityName,
    /// Keys that are known from now on.
    pub known: Vec<EntityKey>,
    /// Keys that are not known any more; none of them is in `known`.
    pub gone: Vec<EntityKey>,
}

/// A parent that a record names: known if any of its keys is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The entity.
    pub entity: EntityName,
    /// The keys that the record carries of it, at least one.
    pub keys: Vec<EntityKey>,
}

/// A record whose parent is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its number in the payload, from 1.
    pub number: u64,
    /// Where it starts in the decompressed payload, in bytes.
    pub offset: u64,
    /// Its own blob type, where it is not its notice's.
    pub blob_type: Option<String>,
    /// One JSON value without a line break.
    pub body: Bytes,
    /// The parents that are missing, at least one.
    pub missing: Vec<Reference>,
    /// The same for people, such as `item sku=123`.
    pub says: String,
    /// What the record itself is about, where that is known: a newer record may take its place.
    pub own: Option<(EntityName, EntityKey)>,
}

/// What becomes of orphans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkRules {
    /// Whether they are parked; otherwise they are refused, and the worker sets them aside.
    pub parks: bool,
    /// How long they wait at most.
    pub park_for: std::time::Duration,
    /// What is done with them then.
    pub at_deadline: AtDeadline,
    /// Whether a newer record about the same entity takes the place of a parked one.
    pub latest_only: bool,
}

/// What is forgotten of earlier attempts of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// What they staged, since this attempt stages it again.
    Staged,
    /// What they decided too, since this attempt starts over.
    All,
    /// What they decided about these records, which are not for the sink any more.
    Records(Vec<u64>),
}

/// What was decided about an orphan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is parked.
    Parked,
    /// It is to be set aside, since the rules say so or since no more may be parked.
    Refused,
    /// It is to be delivered: its parent landed meanwhile, or no more may be parked and the rules say so.
    Deliverable,
}

/// What is written down together with a delivery's progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Records that were set aside.
    pub bad: Vec<BadRecord>,
    /// What the records say of entities.
    pub entities: Vec<EntityChanges>,
    /// Whether the sink holds the records that `entities` is of, and confirms them at the end only.
    pub is_held: bool,
}

impl From<Vec<BadRecord>> for Remarks {
    fn from(bad: Vec<BadRecord>) -> Self {
        Self { bad, ..Self::default() }
    }
}

/// What a claim on a woken notice says besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// The notice that the records came from.
    pub origin: NoticeId,
    /// Whether that was replayed meanwhile: the records go another way by now and are left out.
    pub is_replaced: bool,
    /// Whether they are delivered without a look at their parents: their time is up, or a person let them go.
    pub is_released: bool,
}

/// Bounds of what is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkingBounds {
    /// Records parked at once.
    pub rows_max: u64,
    /// Their bytes.
    pub bytes_max: u64,
}

impl Default for ParkingBounds {
    fn default() -> Self {
        // A vendor that publishes a night's prices before its items; more is a parent that never comes.
        Self { rows_max: 10_000_000, bytes_max: 10 << 30 }
    }
}

impl ParkingBounds {
    /// From here on the oldest ones are let go. The room between the two keeps a full parking from being emptied one
    /// record at a time.
    #[must_use]
    pub fn soft(self) -> Self {
        Self { rows_max: self.rows_max - self.rows_max / 16, bytes_max: self.bytes_max - self.bytes_max / 16 }
    }

    /// Whether so much is within it.
    #[must_use]
    pub fn holds(self, rows: u64, bytes: u64) -> bool {
        rows <= self.rows_max && bytes <= self.bytes_max
    }
}

/// What one step of [`Inbox::tend`](super::Inbox::tend) did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tended {
    /// Records that were turned into woken notices.
    pub woken: u64,
    /// The notices made of them.
    pub notices: u64,
    /// Records that a newer one has replaced.
    pub replaced: u64,
    /// Records whose deadline has come.
    pub expired: u64,
    /// Records that were let go early, since too much is parked.
    pub crowded_out: u64,
    /// Whether there may be more to do at once.
    pub more: bool,
    /// When the next deadline comes.
    pub next_deadline: Option<UnixMs>,
}
