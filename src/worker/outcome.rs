//! How a delivery ends: done, or stopped and why.

use std::time::Duration;

use crate::clock::UnixMs;
use crate::error::{Class, Classify, chain};
use crate::inbox::{InboxError, Progress, Remarks};
use crate::payload::PayloadError;
use crate::sink::SinkError;

use super::retry::{Failure, Side};

/// A delivery that ended well.
pub(super) struct Done {
    pub progress: Progress,
    pub location: String,
    /// What came up since the last progress was stored.
    pub remarks: Remarks,
}

/// Why a delivery ended otherwise.
pub(super) enum Stopped {
    /// To be decided on by class.
    Failed(Failure),
    /// The content was replaced before it was delivered, and its new version is a notice of its own: nothing is left to
    /// do here. Holds what is said of it.
    Superseded(String),
    /// It is too early for it.
    NotYet {
        /// When it is time.
        due: UnixMs,
        /// What is waited for.
        why: String,
    },
    /// The claim is not ours any more, or the inbox cannot be written: nothing more may be done under it.
    Inbox(InboxError),
}

impl From<PayloadError> for Stopped {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Superseded { .. } => Self::Superseded(error.to_string()),
            error => Self::Failed(failure(Side::Vendor, &error)),
        }
    }
}

impl From<SinkError> for Stopped {
    fn from(error: SinkError) -> Self {
        Self::Failed(failure(Side::Sink, &error))
    }
}

impl From<InboxError> for Stopped {
    fn from(error: InboxError) -> Self {
        Self::Inbox(error)
    }
}

fn failure<E: Classify + std::error::Error + 'static>(side: Side, error: &E) -> Failure {
    Failure {
        side,
        class: error.class(),
        error: crate::secret::redact(&chain(error)),
        retry_after: error.retry_after(),
    }
}

pub(super) fn refusal(class: Class, error: String) -> Stopped {
    Stopped::Failed(Failure { side: Side::Sink, class, error, retry_after: None::<Duration> })
}
