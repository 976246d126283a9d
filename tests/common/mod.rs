//! What the tests of the real program share. A test's own world says what is particular to it: the vendor's side, the
//! keys of its feed, and what names a record.
//!
//! ```text
//!   a test's world ── is a ──> Place: a folder, a configuration, the inbox ── starts ──> Daemon: the process, its log
//!        │                       │                                                          │
//!        └── peers, disks,       └── waits for the inbox's summary                          └── waits for what it says
//!            certificates            delivered: files in sight, records, how often each
//! ```
//!
//! No wait is without a limit, and each that was in vain says what for, with the program's log where there is one.

#![allow(dead_code, reason = "each test uses a part of it")]

#[cfg(feature = "sandbox")]
pub mod azurite;
pub mod delivered;
pub mod disk;
pub mod net;
pub mod peers;
pub mod place;
pub mod process;
pub mod python;
#[cfg(feature = "sandbox")]
pub mod vendor;
pub mod wait;
