//! The daemon as a user runs it: the real binary, against the sandbox in the test's own process.

#![cfg(feature = "sandbox")]

mod audit;
#[path = "../common/mod.rs"]
mod common;
mod doctor;
mod halves;
mod quarantine;
mod stops;
mod told;
