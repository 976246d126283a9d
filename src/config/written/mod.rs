//! What was written: every section and key that a configuration file can hold, with the kind of its value.
//!
//! A key is added here, given its meaning in `meaning`, and described in `deploy/longshore.example.toml` (tests hold
//! the three together).
//!
//! ```text
//! document ─┬─> feeds ─┬─> drop, subscriptions
//!           ├─> sinks ─┴─> kind
//!           └─> routes ──> lengths
//! ```

mod document;
mod drop;
mod feeds;
mod kind;
mod lengths;
mod routes;
mod sinks;
mod subscriptions;

pub use document::{Document, Inbox, Limits, Log, Ops, Parking, Reconcile, Runtime, Tokens, Work};
#[cfg(test)]
pub use document::{Fetch, Identity};
pub use drop::{AfterWord, DropFeed, Expected};
pub use feeds::{BucketFeed, BucketProvider, BucketTypeFrom, Feed, ServiceBusFeed, WebhookFeed};
#[cfg(test)]
pub use routes::Routing;
pub use routes::{Entity, Only, Parent, Route};
pub use sinks::{CommandSink, DirectorySink, HttpSink, Sink, SqliteSink};
#[cfg(test)]
pub use subscriptions::Context;
pub use subscriptions::{ContextKind, Limited, Subscriptions};
