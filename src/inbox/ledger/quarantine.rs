//! What was set aside, and what people decide about it.
//!
//! Two kinds of things are set aside: a whole delivery (or a notice that nobody could read), and single records of a
//! delivery that is otherwise done. A decision is made on either, in bounded steps, each a commit of its own:
//!
//! | | a whole delivery | a single record |
//! |---|---|---|
//! | release | goes on after its last confirmed record; planned anew where it is not wanted any more | goes on as a woken notice (see [`crate::inbox::parking`]), to where it was going; not if it could not be read, or only its beginning is kept: then its notice is replayed |
//! | discard | does not count for its notice any more | stays in the account as quarantined, and waits for nobody |
//!
//! A decision is a run with a number of its own, as a replay is: the story of a notice tells of it.

use async_trait::async_trait;
use serde::Serialize;

use super::{RunKind, Selector, stamp};
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::{DeliveryId, InboxError, RunId, Target};
use crate::notice::{FeedName, NoticeId};

/// Which of the things that were set aside are meant: those that meet every part that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AsideSelector {
    /// Their notices. Its limit counts the things set aside.
    #[serde(flatten)]
    pub notices: Selector,
    /// Single records by notice and number: of such a notice, nothing else is meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<(NoticeId, u64)>,
    /// The classes of their reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
    /// What stands in their reason, without regard to case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whole deliveries alone, or single records alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<AsideKind>,
}

/// Whether something was set aside whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AsideKind {
    /// A delivery, or a notice that could not be read.
    Notices,
    /// A single record.
    Records,
}

/// Where something that was set aside is found. In the order in which it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AsideId {
    /// The notice.
    pub notice: NoticeId,
    /// The delivery; `None` for a notice that could not be read.
    pub delivery: Option<DeliveryId>,
    /// The record's number; `None` for a whole delivery.
    #[serde(rename = "record")]
    pub number: Option<u64>,
}

/// Something that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Aside {
    /// Where it is found.
    #[serde(flatten)]
    pub id: AsideId,
    /// The route and sink; `None` for a notice that could not be read.
    #[serde(flatten)]
    pub target: Option<Target>,
    /// The feed that heard the notice.
    pub feed: FeedName,
    /// What the file holds.
    pub blob_type: String,
    /// The source's id for tracking it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// When the source published it.
    #[serde(serialize_with = "stamp::at")]
    pub published: UnixMs,
    /// When the delivery ended; `None` while it is under way, and its records may still be read again.
    #[serde(serialize_with = "stamp::maybe")]
    pub ended: Option<UnixMs>,
    /// The class of the reason.
    pub class: Class,
    /// Why.
    pub reason: String,
    /// Where the record starts in the decompressed payload, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// How many bytes of it are kept; 0 for a delivery, whose content lies at the source.
    pub bytes_kept: u64,
    /// Whether the record could be read, so that its bytes are one JSON value.
    pub is_readable: bool,
    /// Whether its bytes are only its beginning.
    pub is_cut: bool,
    /// Its bytes, where they were asked for.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl Aside {
    /// Whether it is a record that can be delivered without the rest of its file: it could be read, and is kept whole.
    #[must_use]
    pub fn goes_alone(&self) -> bool {
        self.id.number.is_some() && self.is_readable && !self.is_cut
    }

    /// Whether it was set aside whole.
    #[must_use]
    pub fn kind(&self) -> AsideKind {
        if self.id.number.is_some() { AsideKind::Records } else { AsideKind::Notices }
    }
}

/// What becomes of something that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Released: it goes on after its last confirmed record, to where it was going.
    GoOn,
    /// Released: it is planned anew, since the configuration does not send it there any more.
    PlanAnew,
    /// It counts no more, or waits no more.
    Discard,
}

/// A lane that holds something in quarantine; under [`OnPoison::Stop`](crate::inbox::OnPoison::Stop) it stands still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoppedLane {
    /// The route and sink.
    #[serde(flatten)]
    pub target: Target,
    /// The blob type, in lower case.
    pub blob_type: String,
    /// How many deliveries are set aside.
    pub set_aside: u64,
    /// The first of their notices.
    pub notice: NoticeId,
    /// Its delivery.
    pub delivery: DeliveryId,
    /// How many deliveries wait behind.
    pub waiting: u64,
}

/// What one step of a decision did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// Whole deliveries decided on.
    pub deliveries: u64,
    /// Single records decided on.
    pub records: u64,
    /// Left alone: notices that could not be read have nothing to deliver.
    pub unreadable: u64,
    /// Left alone: records of a delivery that is under way or set aside itself.
    pub unsettled: u64,
    /// Left alone: records that cannot be delivered alone, since they could not be read, are kept cut off, or go
    /// elsewhere by now. Their notice can be replayed.
    pub not_alone: u64,
}

impl Decided {
    /// Adds up two steps.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            deliveries: self.deliveries + other.deliveries,
            records: self.records + other.records,
            unreadable: self.unreadable + other.unreadable,
            unsettled: self.unsettled + other.unsettled,
            not_alone: self.not_alone + other.not_alone,
        }
    }
}

/// What was set aside, and what people decide about it.
#[async_trait]
pub trait Quarantine: Send + Sync {
    /// Up to `limit` of the selected things after `after`: of the newest notice first, and within it in the order of its
    /// deliveries and records. Fewer than `limit`, though not none, may be returned before the end when `bytes` (asked
    /// for with `with_bytes`) are many. What is discarded is not among them.
    async fn set_aside(
        &self,
        selector: AsideSelector,
        after: Option<AsideId>,
        limit: usize,
        with_bytes: bool,
    ) -> Result<Vec<Aside>, InboxError>;

    /// What a notice carries: its content, or the announcement as it came if that could not be read.
    async fn body(&self, notice: NoticeId) -> Result<Option<Vec<u8>>, InboxError>;

    /// Begins a decision under a run of its own; [`RunKind::Replay`] is not one.
    async fn decide(&self, kind: RunKind, selector: AsideSelector) -> Result<RunId, InboxError>;

    /// Carries out a decision on these under `run`, in one commit. What has changed since it was listed is left alone.
    async fn decide_on(&self, run: RunId, decision: Decision, these: Vec<AsideId>) -> Result<Decided, InboxError>;

    /// Up to `limit` lanes that hold something in quarantine.
    async fn stopped_lanes(&self, limit: usize) -> Result<Vec<StoppedLane>, InboxError>;
}
