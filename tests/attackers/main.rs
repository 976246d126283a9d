//! What an attacker may try, and what an accident may bring: each has a named outcome, and nothing gets out.

#![cfg(feature = "sandbox")]

mod addresses;
mod bombs;
mod canary;
#[path = "../common/mod.rs"]
mod common;
mod hook;
mod messages;
mod sealed;
mod traps;
