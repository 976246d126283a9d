//! Doing it again, and forgetting it.

use serde::Serialize;

use super::Selector;
use crate::inbox::{InboxSettings, RunId};
use crate::notice::NoticeId;

/// What a replay would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplayPlan {
    /// Notices that would be delivered again.
    pub notices: u64,
    /// Decompressed bytes that they had when last delivered, as far as known.
    pub bytes: u64,
    /// Records that they had when last delivered, as far as known.
    pub records: u64,
    /// Notices among them of which neither is known.
    pub never_delivered: u64,
    /// Selected notices that are left alone since they are under way anyhow.
    pub under_way: u64,
    /// Selected notices that are left alone since they could not be read when they were heard.
    pub unreadable: u64,
}

/// A replay in progress.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Its run.
    pub run: RunId,
    pub(in crate::inbox) selector: Selector,
    /// The last notice that was looked at.
    pub(in crate::inbox) after: NoticeId,
    /// The last notice there was when it began: those that are stored meanwhile are not meant.
    pub(in crate::inbox) end: NoticeId,
    pub(in crate::inbox) sent: usize,
}

/// What one step of a replay did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayStep {
    /// Notices sent back by this step.
    pub sent: u64,
    /// Whether there are none left.
    pub finished: bool,
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long finished and skipped notices are kept.
    pub age: std::time::Duration,
    /// At which size of the database the oldest ones are pruned early, in bytes; `None` for no bound.
    pub bytes: Option<u64>,
    /// For how long after its last arrival a notice that is pruned is still known by its key.
    pub keys: std::time::Duration,
}

impl From<&InboxSettings> for Retention {
    fn from(settings: &InboxSettings) -> Self {
        Self { age: settings.retention_age, bytes: settings.retention_bytes, keys: settings.dedupe_age }
    }
}

/// What was pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Notices removed.
    pub notices: u64,
    /// Bytes given back to the file system.
    pub bytes: u64,
    /// Whether the inbox is still larger than it may be, since all else in it is unfinished or set aside.
    pub still_too_large: bool,
}
