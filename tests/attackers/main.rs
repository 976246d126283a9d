//! What an attacker may try, and what an accident may bring: each has a named outcome, and nothing gets out.

#![cfg(feature = "sandbox")]

mod addresses;
mod bombs;
mod canary;
mod canary_drop;
mod messages;
mod sealed;
mod traps;
#[allow(dead_code, reason = "the world of the daemon's tests has more in it")]
#[path = "../daemon/world.rs"]
mod world;
