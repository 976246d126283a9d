//! One notice: its line in a list, and its whole story.

use serde::Serialize;

use super::{AttemptOutcome, DeliveryState, HeardAs, NoticeState, RunKind, stamp};
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::{DeliveryId, Progress, RunId, Target};
use crate::notice::{FeedName, Metadata, NoticeId};
use crate::record::{BadRecord, Counts};

/// A notice in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoticeLine {
    /// Its number.
    pub id: NoticeId,
    /// What has become of it.
    pub state: NoticeState,
    /// Why it is skipped or quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The feed that heard it.
    pub feed: FeedName,
    /// What the file holds.
    pub blob_type: String,
    /// The source's id for tracking it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The notice that its records were parked by, where it was made of woken ones. Its account is in no total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub woken_from: Option<NoticeId>,
    /// When the source published it.
    #[serde(serialize_with = "stamp::at")]
    pub published: UnixMs,
    /// When it was stored.
    #[serde(serialize_with = "stamp::at")]
    pub stored: UnixMs,
    /// How often it arrived.
    pub seen_count: u64,
    /// The deliveries that count for its state.
    pub deliveries: u64,
    /// Attempts used up by them.
    pub attempts: u64,
    /// Their accounts, added up.
    pub counts: Counts,
}

/// A notice, by the key under which it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The source's own id for it.
    pub dedupe_key: String,
    /// Its number.
    pub notice: NoticeId,
    /// What has become of it.
    pub state: NoticeState,
}

/// Everything about one notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Story {
    /// Its number.
    pub id: NoticeId,
    /// What has become of it.
    pub state: NoticeState,
    /// Why it is skipped or quarantined.
    pub reason: Option<String>,
    /// The feed that heard it.
    pub feed: FeedName,
    /// The source's own id for it.
    pub dedupe_key: String,
    /// What the feed decided.
    pub heard_as: HeardAs,
    /// What the source says of the file.
    pub metadata: Metadata,
    /// The size of the body, where the notice carries one.
    pub body_bytes: Option<u64>,
    /// The notice that its records were parked by, where it was made of woken ones. Its account is in no total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub woken_from: Option<NoticeId>,
    /// When the source published it.
    #[serde(serialize_with = "stamp::at")]
    pub published: UnixMs,
    /// The source's running number.
    pub sequence: i64,
    /// When it was stored.
    #[serde(serialize_with = "stamp::at")]
    pub stored: UnixMs,
    /// When the source was told.
    #[serde(serialize_with = "stamp::maybe")]
    pub settled: Option<UnixMs>,
    /// When it became finished, skipped or quarantined.
    #[serde(serialize_with = "stamp::maybe")]
    pub ended: Option<UnixMs>,
    /// How often it arrived.
    pub seen_count: u64,
    /// When it arrived last.
    #[serde(serialize_with = "stamp::at")]
    pub last_seen: UnixMs,
    /// The source's own count of earlier deliveries.
    pub delivery_count: u64,
    /// The latest run.
    pub run: RunId,
    /// Its deliveries, first to last; of very many, the last ones.
    pub deliveries: Vec<DeliveryStory>,
}

/// Everything about one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryStory {
    /// Its number.
    pub id: DeliveryId,
    /// Where it goes.
    pub target: Target,
    /// The run it belongs to.
    pub run: RunId,
    /// The later run that took its place.
    pub replaced_by: Option<RunId>,
    /// What that run is.
    pub replaced_as: Option<RunKind>,
    /// What has become of it.
    pub state: DeliveryState,
    /// When it was made ready.
    #[serde(serialize_with = "stamp::at")]
    pub since: UnixMs,
    /// When it is tried again.
    #[serde(serialize_with = "stamp::maybe")]
    pub due: Option<UnixMs>,
    /// Who has it, since when and until when.
    pub held: Option<Hold>,
    /// When it was done or set aside.
    #[serde(serialize_with = "stamp::maybe")]
    pub ended: Option<UnixMs>,
    /// Attempts used up.
    pub attempts: u64,
    /// Claims lost with their lease.
    pub lost: u64,
    /// How far it has come.
    pub progress: Progress,
    /// The class of the latest failure.
    pub class: Option<Class>,
    /// The latest failure.
    pub error: Option<String>,
    /// Where its records went.
    pub location: Option<String>,
    /// The claims that ended, first to last; of very many, the last ones.
    pub history: Vec<Attempt>,
    /// How many records were set aside.
    pub bad_records: u64,
    /// How many of them were discarded.
    pub discarded_records: u64,
    /// The first of them.
    pub bad_records_first: Vec<BadRecord>,
}

/// A worker's claim in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Who.
    pub worker: String,
    /// Since when.
    #[serde(serialize_with = "stamp::at")]
    pub since: UnixMs,
    /// Until when, unless renewed.
    #[serde(serialize_with = "stamp::at")]
    pub lease_until: UnixMs,
}

/// A claim that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Who had it.
    pub worker: String,
    /// When it began.
    #[serde(serialize_with = "stamp::at")]
    pub started: UnixMs,
    /// When it ended.
    #[serde(serialize_with = "stamp::at")]
    pub ended: UnixMs,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The last record confirmed by then.
    pub confirmed: u64,
    /// The class of what went wrong.
    pub class: Option<Class>,
    /// What went wrong.
    pub error: Option<String>,
}
