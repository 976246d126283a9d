//! Choosing notices.

use serde::Serialize;

use super::{NoticeState, stamp};
use crate::clock::UnixMs;
use crate::notice::{FeedName, NoticeId, RouteName};

/// Which notices are meant: those that meet every part that is given, each part being met by any of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Selector {
    /// Their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<NoticeId>,
    /// Their correlation ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub correlation_ids: Vec<String>,
    /// Globs of their blob types, compared without regard to case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blob_types: Vec<String>,
    /// Their feeds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<FeedName>,
    /// Published at this moment or later.
    #[serde(serialize_with = "stamp::maybe", skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMs>,
    /// Published before this moment.
    #[serde(serialize_with = "stamp::maybe", skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixMs>,
    /// Their states.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<NoticeState>,
    /// Routes that they were delivered on, or are to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteName>,
    /// No more than this many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl Selector {
    /// Whether it selects every notice.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}
