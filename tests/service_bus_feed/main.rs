//! The Service Bus feed against the sandbox's broker, on the wire.

#![cfg(feature = "sandbox")]

mod world;

mod faults;
mod hearing;
mod tokens;
mod transports;
