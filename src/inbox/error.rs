//! Why an inbox could not do what it was asked, and what to make of it.

use crate::error::{Class, Classify};
use crate::record::Counts;

use super::delivery::{ClaimKey, DeliveryId};

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
    /// The disk failed in such a way that only opening the inbox anew shows what it kept; nothing more is written, and
    /// nothing that the disk did not keep was answered.
    #[error("the inbox {path} takes nothing more until longshore is started again: the disk failed: {reason}")]
    RestartNeeded {
        /// The inbox.
        path: String,
        /// What was found.
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
        /// [`super::InboxSettings::commit_notices_max`].
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
            Self::LeaseLost(_) | Self::Unavailable { .. } | Self::RestartNeeded { .. } => Class::Transient,
            Self::Unusable { .. }
            | Self::NewerSchema { .. }
            | Self::TooMany { .. }
            | Self::BadSelector { .. }
            | Self::Unbalanced { .. } => Class::Permanent,
        }
    }
}
