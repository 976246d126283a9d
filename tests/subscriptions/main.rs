//! `longshore subscriptions` as a person runs it, against the sandbox's fulfillmenttools.

#![cfg(feature = "sandbox")]

mod changing;
#[path = "../common/mod.rs"]
mod common;
mod failing;
mod looking;
mod world;
