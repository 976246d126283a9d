//! The webhook feed as senders meet it: the real program, over TLS, with clients that we did not write.

mod batches;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod load;
mod taking;
mod world;
