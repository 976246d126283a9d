//! What becomes of the daemon when its machine fails: each fault has a stated outcome, and each is tried on the real
//! binary with the real fault.
//!
//! | fault | outcome |
//! |---|---|
//! | full disk | stops hearing, keeps what it has, stays up, says it, goes on by itself when there is room |
//! | disk that turns read-only | the same; goes on when it can be written again |
//! | read-only disk at the start, also with a log that was left behind | ends with exit code 74, which names the file and what to do; can be looked at |
//! | fsync fails (EIO) | nothing is settled, says it; goes on once the log was written anew |
//! | fsync fails, and the disk lost what it failed on | the same; then ends with exit code 74, and goes on when it is started again |
//! | inbox locked for long | waits, says it, goes on by itself |
//! | damaged inbox | ends, or stays up and says it: names the file and what to do; never panics, delivers nothing twice |
//! | clock set by a day, either way, while it runs or between two runs | says it; no wait lasts the jump, nothing is given up, let go or pruned before half of its time |
//! | inbox of a newer schema | ends with exit code 74, touches nothing |

#![cfg(feature = "sandbox")]

mod clock;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod file;
mod tools;
