//! Routes: which blob types go where, under which rules.
//!
//! What always holds: the same notice and the same settings give the same plan; a notice without a route is skipped
//! with a reason, never dropped; a record filter looks at raw bytes and changes none.
//!
//! ```text
//! Notice ──Router::plan──> (route, sink) each | skip reason
//! record ──Route::filter──> delivered | filtered
//! ```

use crate::notice::{FeedName, RouteName, SinkName};

mod filter;
mod router;

pub use filter::RecordFilter;
pub use router::{Route, RouteError, Router};

/// A configured route.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Its name in the configuration.
    pub name: RouteName,
    /// Globs of the blob types it takes, compared without regard to case.
    pub blob_types: Vec<String>,
    /// Globs of the blob types it does not take.
    pub exclude: Vec<String>,
    /// The feeds it takes from; empty for all.
    pub feeds: Vec<FeedName>,
    /// Where its records go.
    pub sinks: Vec<SinkName>,
    /// Only records that meet every condition are delivered; the others are counted as filtered.
    pub only: Vec<Condition>,
    /// The inner form of its payloads.
    pub format: FormatHints,
}

/// The inner form of a route's payloads, beyond their `contentType`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormatHints {
    /// The element of an XML document that is a record; `None`: the children of the root.
    pub xml_record_element: Option<String>,
    /// The separator of CSV columns; `None`: found out from the header line.
    pub csv_separator: Option<u8>,
}

/// A condition on a record: the value at a JSON pointer equals one of these values.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The JSON pointer (RFC 6901), such as `/status/isDeleted`.
    pub pointer: String,
    /// The values that meet it. An absent value equals `null`.
    pub equals: Vec<serde_json::Value>,
}

/// Whether a notice goes to the first route that takes its blob type, or to all that do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// The first, in the order of the file.
    #[default]
    First,
    /// All.
    All,
}
