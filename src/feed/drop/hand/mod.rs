//! A drop by hand: what it holds, and one file of it taken now, with the feed's own code.
//!
//! ```text
//! fetch ──listed──> holding ──> error
//! ```

mod error;
mod fetch;
mod holding;

#[cfg(test)]
mod tests;

pub use error::HandError;
pub use fetch::{Fetched, Left};
pub use holding::{ByHand, File, FileState, Gone, Holding};
