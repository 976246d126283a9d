//! Feeds: each turns its source into notices, and settles with the source only what the inbox has stored.
//!
//! ```text
//! source ──hear──> HeardNotice ──inbox.store──> Receipt ──settle──> source
//! ```

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::inbox::SharedInbox;
use crate::notice::FeedName;
use crate::probe::Step;

/// The filter of blob types, which routes use too.
pub use crate::blob_type as filter;

pub mod bucket;
mod counters;
pub mod drop;
pub mod service_bus;
pub mod store;
pub mod webhook;

/// A configured source of notices.
#[async_trait]
pub trait Feed: Send + Sync {
    /// The feed's name in the configuration.
    fn name(&self) -> &FeedName;

    /// Hears until `stop` is cancelled, whatever the source does: a lost connection, a refused token, a full disk and
    /// silence are states that it reports to the context's health and recovers from by itself. When stopped, it
    /// settles what is stored, gives back what is not, and returns.
    async fn run(&self, inbox: SharedInbox, stop: CancellationToken);

    /// Walks the chain to the source, reporting each step; consumes nothing.
    async fn probe(&self) -> Vec<Step>;
}
