//! Routes: which blob types go where, under which rules.
//!
//! What always holds: the same notice and the same settings give the same plan; a notice without a route is skipped
//! with a reason, never dropped; a record filter looks at raw bytes and changes none.
//!
//! ```text
//! Notice ──Router::plan──> (route, sink) each | skip reason
//! record ──Router::unwrap──> its own blob type and content, where its feed wraps it | filtered: another route's
//! record ──Route::filter──> delivered | filtered
//! ```

use std::time::Duration;

use crate::notice::{EntityName, FeedName, RouteName, SinkName};

mod entity;
mod envelope;
mod filter;
mod keys;
mod reconcile;
mod router;

pub use crate::inbox::AtDeadline;
pub use entity::{Entity, Parent};
pub use envelope::{Envelope, EnvelopeSettings, OwnTypes, Unwrapped};
pub use filter::RecordFilter;
pub use keys::Key;
pub use reconcile::{Compared, Nameless, Reconcile, ReconcileSettings, Reconciles};
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
    /// What must exist at the sink before a record of this route is delivered there.
    pub parents: Vec<ParentSettings>,
    /// What becomes of a record whose parent does not.
    pub parking: ParkingSettings,
}

/// What records are about, and how its key is read from them.
#[derive(Clone, Debug, PartialEq)]
pub struct EntitySettings {
    /// Its name in the configuration, such as `item`.
    pub name: EntityName,
    /// Globs of the blob types whose records carry it, compared without regard to case.
    pub blob_types: Vec<String>,
    /// Its keys, each an alternative: a record may carry any of them, and any one finds the entity.
    pub keys: Vec<KeySettings>,
    /// A record that meets this takes the entity away.
    pub deleted: Option<Condition>,
}

/// One key of an entity, or of a reference to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// What it is called, such as `sku`: an entity and a reference to it meet under the same name only.
    pub name: String,
    /// JSON pointers whose values together are the key. A record that lacks one of them does not carry this key.
    pub pointers: Vec<String>,
}

/// A reference of a route's records to an entity that must exist before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentSettings {
    /// The entity.
    pub entity: EntityName,
    /// Where the record names it. A record that carries none of the keys has no such parent.
    pub keys: Vec<KeySettings>,
}

/// What becomes of records whose parent is not known to the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkingSettings {
    /// What is done at first.
    pub missing_parent: MissingParent,
    /// How long a record is parked at most.
    pub park_for: Duration,
    /// What is done with one whose time is up.
    pub at_deadline: AtDeadline,
    /// Whether a newer record about the same entity takes the place of a parked one.
    pub latest_only: bool,
}

impl Default for ParkingSettings {
    fn default() -> Self {
        Self {
            missing_parent: MissingParent::Park,
            // Longer than a vendor's weekend outage, and than a parent that waits for its own parents.
            park_for: Duration::from_secs(7 * 24 * 3_600),
            at_deadline: AtDeadline::Quarantine,
            latest_only: false,
        }
    }
}

/// What is done with a record whose parent is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingParent {
    /// It waits for its parent.
    #[default]
    Park,
    /// It is delivered all the same.
    Deliver,
    /// It is set aside.
    Quarantine,
}

/// The inner form of a route's payloads, beyond their `contentType`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormatHints {
    /// The element of an XML document that is a record; `None`: the children of the root.
    pub xml_record_element: Option<String>,
    /// The separator of CSV columns; `None`: found out from the header line.
    pub csv_separator: Option<u8>,
    /// The sign around CSV values that hold a separator; `None`: `"`.
    pub csv_quote: Option<u8>,
    /// The charset of CSV whose content type names none and that begins with no mark; `None`: UTF-8.
    pub csv_charset: Option<String>,
    /// The CSV value that means null; `None`: none does.
    pub csv_null: Option<String>,
    /// How CSV columns are spelt, whatever their case in the header.
    pub csv_columns: Vec<String>,
    /// Prefixes whose CSV columns are gathered into an object each, such as `Payload.`.
    pub csv_gather: Vec<String>,
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
