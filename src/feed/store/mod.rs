//! Object stores: how a bucket of any kind is reached, for the feeds that look into one.
//!
//! What always holds:
//!
//! 1. Secrets are read from files, and again when a file was replaced or the store refused what was in it.
//! 2. `object_store` lists and signs for three clouds; every request goes through the house's own HTTP client, which
//!    decides on addresses.
//! 3. What a store says is one redacted line before anybody sees it.
//!
//! ```text
//! BucketAccess ─> Connection ── secret files ──> Store (objects, pages) ──> client ──> the store
//! (whose, which)      ^                            │
//!                     └────────── refused ─────────┴─ said, status: what went wrong
//! ```

mod access;
mod client;
mod connection;
mod said;

pub use access::{AzureSecret, BucketAccess, Provider};
pub use connection::{ConnectError, Connection, Store};
pub(in crate::feed) use said::{bare_etag, said, status};
