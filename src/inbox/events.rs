//! Events by what they say: what lets an export be compared with a webhook.

use std::fmt;
use std::time::Duration;

use super::EntityKey;
use crate::notice::HeardNotice;

/// Says which event a notice carries. An inbox that has one writes an event's key down in the commit that stores its
/// notice, duplicates too, and answers for it by [`Inbox::heard_events`](super::Inbox::heard_events).
pub trait EventIdentity: Send + Sync + fmt::Debug {
    /// The event's key; `None` for a notice that is not remembered so.
    fn key(&self, heard: &HeardNotice) -> Option<EntityKey>;

    /// How long an event is remembered; `None` where nothing is.
    fn remember(&self) -> Option<Duration>;
}
