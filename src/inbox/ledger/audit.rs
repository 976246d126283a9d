//! Whether everything adds up, recomputed from what is stored.
//!
//! Every write holds the accounts to their equation, so that an audit finds something only when a file was damaged or
//! written by another program, or when Longshore itself is wrong. It goes through the notices in bounded steps, each in
//! one snapshot, while the daemon works.

use async_trait::async_trait;
use serde::Serialize;

use super::stamp;
use crate::clock::UnixMs;
use crate::inbox::{DeliveryId, InboxError, Target};
use crate::notice::NoticeId;
use crate::record::Counts;

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The notice.
    pub notice: NoticeId,
    /// The delivery, where it is one's.
    pub delivery: Option<DeliveryId>,
    /// What is wrong, with the numbers.
    pub what: String,
}

/// The account of a route and sink: of all deliveries that count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditedAccount {
    /// The route and sink.
    #[serde(flatten)]
    pub target: Target,
    /// Deliveries.
    pub deliveries: u64,
    /// Their records.
    #[serde(flatten)]
    pub counts: Counts,
    /// Of the quarantined records, those that were discarded.
    pub discarded: u64,
}

impl AuditedAccount {
    /// An account of nothing.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { target, deliveries: 0, counts: Counts::default(), discarded: 0 }
    }

    /// Adds deliveries and their records; saturates, since a damaged file may hold any number.
    pub fn add(&mut self, deliveries: u64, counts: Counts, discarded: u64) {
        self.deliveries = self.deliveries.saturating_add(deliveries);
        self.discarded = self.discarded.saturating_add(discarded);
        let sum = &mut self.counts;
        for (sum, more) in [
            (&mut sum.read, counts.read),
            (&mut sum.delivered, counts.delivered),
            (&mut sum.filtered, counts.filtered),
            (&mut sum.parked, counts.parked),
            (&mut sum.quarantined, counts.quarantined),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// What one step of an audit saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditStep {
    /// The last notice that was looked at; `None` at the end.
    pub last: Option<NoticeId>,
    /// Notices looked at.
    pub notices: u64,
    /// Deliveries looked at, also those that a replay has replaced.
    pub deliveries: u64,
    /// The accounts, by route and sink.
    pub accounts: Vec<AuditedAccount>,
    /// What does not add up.
    pub findings: Vec<Finding>,
}

/// The result of an audit, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Audited {
    /// When it was done.
    #[serde(serialize_with = "stamp::at")]
    pub at: UnixMs,
    /// Notices looked at.
    pub notices: u64,
    /// Deliveries looked at.
    pub deliveries: u64,
    /// How much did not add up.
    pub findings: u64,
}

/// A claim that nothing will end in time by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StuckLease {
    /// The notice.
    pub notice: NoticeId,
    /// Its delivery.
    pub delivery: DeliveryId,
    /// Who claimed it.
    pub worker: String,
    /// Until when.
    #[serde(serialize_with = "stamp::at")]
    pub lease_until: UnixMs,
}

/// What a look at the file itself found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// The version of its schema.
    pub schema: u32,
    /// What is damaged; the first of it.
    pub damage: Vec<String>,
    /// Claims whose lease ran out long ago, or ends far in the future; the first of them.
    pub stuck_leases: Vec<StuckLease>,
}

/// Recomputes whether everything adds up.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Looks at up to `notices_max` notices behind `after`.
    async fn audit(&self, after: Option<NoticeId>, notices_max: usize) -> Result<AuditStep, InboxError>;

    /// Looks at the file itself: reads all of it.
    async fn examine(&self) -> Result<Examination, InboxError>;

    /// Remembers a result for `longshore status` and the metrics, in place of the one before.
    async fn remember(&self, audited: Audited) -> Result<(), InboxError>;
}
