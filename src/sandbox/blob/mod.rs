//! The blob store: what Azure Blob Storage is to a reader, as far as the vendor's client uses it.
//!
//! ```text
//! GET /account/container/blob?sas ──> fault on demand? ──> SAS ──> found? ──> If-Match ──> range ──> body (spoilt?)
//! ```

mod answer;
pub mod content;
pub mod fault;
mod range;
pub mod sas;
mod serve;
mod store;

pub(super) use serve::router;
pub use store::BlobInfo;
pub(super) use store::BlobStore;
