//! `longshore subscriptions` as a person runs it, against the sandbox's fulfillmenttools.

#![cfg(feature = "sandbox")]

mod changing;
mod failing;
mod looking;
mod world;
