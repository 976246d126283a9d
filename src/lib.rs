//! Longshore unloads what other platforms publish.
//!
//! ```text
//! feed ──> inbox ──> worker ──> payload ──> route ──> sink
//! hears     keeps     claims     opens       decides    delivers
//! ```
//!
//! Each module is a room with one job. Imports run one way, down this list; see `ARCHITECTURE.md`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

// So that a file that tests elsewhere take in, too, says the same in here.
#[cfg(test)]
extern crate self as longshore;

pub mod cli;
pub mod daemon;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;

pub mod config;

#[cfg(feature = "sandbox")]
pub mod sandbox;

pub mod feed;
pub mod worker;

pub mod access;
pub mod payload;

pub mod route;
pub mod sink;

pub mod inbox;

pub mod ops;

pub mod blob_type;
pub mod clock;
pub mod error;
pub mod fail_point;
mod globs;
#[cfg(any(test, feature = "fuzzing"))]
mod hidden;
pub mod net;
pub mod notice;
pub mod pointer;
pub mod probe;
pub mod record;
pub mod retry_after;
pub mod secret;
pub mod steady;
mod write_ahead;
