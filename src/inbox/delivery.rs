//! A delivery on its way: planned, claimed, come so far, ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::error::Class;
use crate::notice::{Notice, NoticeId, RouteName, SinkName};
use crate::record::Counts;

use super::parking::Woken;

/// A delivery's number in the inbox: one notice on one route to one of its sinks, in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(pub i64);

/// Which run a delivery belongs to: 0 for the first, a number of its own for each replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub i64);

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
    /// The present moment, by [`Inbox::now`](super::Inbox::now).
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
