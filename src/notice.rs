//! A notice changes type as it advances: a [`HeardNotice`] is what a feed made of its source, a
//! [`Receipt`](crate::inbox::Receipt) proves that it is stored (and only that can be settled), and a [`Notice`] is
//! what the inbox gives back to the workers.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the name as it is; the configuration has checked it.
            pub fn new(name: impl AsRef<str>) -> Self {
                Self(Arc::from(name.as_ref()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name_type! {
    /// The name of a configured feed.
    FeedName
}
name_type! {
    /// The name of a configured route.
    RouteName
}
name_type! {
    /// The name of a configured sink.
    SinkName
}

name_type! {
    /// The name of a configured entity: what records are about, such as `item`.
    EntityName
}

/// A notice's number in the inbox; users type it (`longshore show 42`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NoticeId(pub i64);

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the source says of the file: the vendor's metadata, under the vendor's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// What the file holds, such as `Gateway.ItemChanges`. Compared without regard to case.
    pub blob_type: String,
    /// The source's id for tracking the file; any text, not unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Where the content lies, never with a token. `None` when the notice carries its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The format of the content, such as `application/x-jsonlines`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// How the content is compressed, such as `gzip`; absent or blank for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// Further facts of the source: a JSON value, kept as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<serde_json::Value>,
}

/// What a feed decided about a notice when it heard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the routes.
    Accepted,
    /// The feed's filter leaves it out; it is stored, so that a replay can still take it. Holds the reason.
    Skipped(String),
    /// It could not be understood; it is stored in quarantine with its raw bytes as body. Holds the reason.
    Unreadable(String),
}

/// A notice as a feed heard it: not stored yet, and so not to be settled.
#[derive(Clone, Debug)]
pub struct HeardNotice {
    /// The feed that heard it.
    pub feed: FeedName,
    /// The source's own id for it, unique within the feed: a second arrival under the same key is a duplicate.
    pub dedupe_key: String,
    /// What the source says of the file.
    pub metadata: Metadata,
    /// The content itself, where the event arrived whole, or the raw bytes of an unreadable announcement.
    pub body: Option<Bytes>,
    /// When the source published it; the moment it was heard where the source does not say.
    pub published: UnixMs,
    /// The source's running number, which orders notices published in the same millisecond; 0 where there is none.
    pub sequence: i64,
    /// How often the source delivered it before, by its own count.
    pub delivery_count: u32,
    /// What the feed decided.
    pub verdict: Verdict,
}

/// A stored notice, as a worker gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its number in the inbox.
    pub id: NoticeId,
    /// The feed that heard it.
    pub feed: FeedName,
    /// The source's own id for it.
    pub dedupe_key: String,
    /// What the source says of the file.
    pub metadata: Metadata,
    /// The content, where the notice carries it.
    pub body: Option<Bytes>,
    /// When the source published it.
    pub published: UnixMs,
    /// The source's running number; 0 where there is none.
    pub sequence: i64,
    /// When it was stored.
    pub stored: UnixMs,
}
