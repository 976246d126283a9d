//! What is parked, and what the sinks know.

use serde::Serialize;

use super::stamp;
use crate::clock::UnixMs;
use crate::inbox::{AtDeadline, Target};
use crate::notice::{EntityName, NoticeId, RouteName, SinkName};

/// Which parked records are meant: those that meet every part that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParkedSelector {
    /// Of one of these routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteName>,
    /// For one of these sinks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<SinkName>,
    /// Whose first missing parent is one of these entities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<EntityName>,
    /// Whose missing parents, as they are shown (`item sku=123`), hold this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// Read from these notices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<NoticeId>,
    /// No more than this many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A parked record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParkedLine {
    /// Its number among the parked ones.
    pub id: i64,
    /// The notice that it was read from.
    pub notice: NoticeId,
    /// Its number in that payload, from 1.
    pub number: u64,
    /// Where it is to go.
    pub target: Target,
    /// What its file holds, in lower case.
    pub blob_type: String,
    /// The parents that are missing, such as `item sku=123`.
    pub missing: String,
    /// When its notice was published.
    #[serde(serialize_with = "stamp::at")]
    pub published: UnixMs,
    /// Since when it is parked.
    #[serde(serialize_with = "stamp::at")]
    pub since: UnixMs,
    /// Until when it is at most.
    #[serde(serialize_with = "stamp::at")]
    pub deadline: UnixMs,
    /// What is done with it then.
    pub at_deadline: AtDeadline,
    /// Its size.
    pub bytes: u64,
}

/// Parked records of one route to one sink that wait for the same parents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParkedGroup {
    /// Where they are to go.
    pub target: Target,
    /// The parents that are missing.
    pub missing: String,
    /// How many records.
    pub records: u64,
    /// Their size.
    pub bytes: u64,
    /// Since when the oldest is parked.
    #[serde(serialize_with = "stamp::at")]
    pub oldest: UnixMs,
    /// When the first deadline comes.
    #[serde(serialize_with = "stamp::at")]
    pub deadline: UnixMs,
}

/// What one step of a release did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReleaseStep {
    /// Records let go by this step.
    pub released: u64,
    /// The last one that was looked at: where the next step begins.
    #[serde(skip)]
    pub last: i64,
    /// Whether there are none left.
    pub finished: bool,
}

/// Everything that is parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParkedTotals {
    /// Records, also those whose delivery has not ended yet.
    pub records: u64,
    /// Their size.
    pub bytes: u64,
    /// Since when the oldest is parked.
    #[serde(serialize_with = "stamp::maybe", skip_serializing_if = "Option::is_none")]
    pub oldest: Option<UnixMs>,
    /// When the next deadline comes.
    #[serde(serialize_with = "stamp::maybe", skip_serializing_if = "Option::is_none")]
    pub next_deadline: Option<UnixMs>,
}

/// An entity at a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntityCount {
    /// The sink.
    pub sink: SinkName,
    /// The entity.
    pub entity: EntityName,
    /// How many of its keys are known.
    pub keys: u64,
}
