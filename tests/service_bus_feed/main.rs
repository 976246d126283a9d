//! The Service Bus feed against the sandbox's broker, on the wire.

#![cfg(feature = "sandbox")]

#[path = "../common/mod.rs"]
mod common;
mod issuer;
#[path = "../../src/inbox/stand_in.rs"]
mod stand_in;
mod watched;
mod world;

mod faults;
mod hearing;
mod tokens;
mod transports;
