//! The drop feed: files that somebody lays down for us in a folder, on this machine or on another.
//!
//! What always holds:
//!
//! 1. A file is taken only when it is complete: its size and time stood still for a while, they are the same after the
//!    copy as before it, and what has an end that can be checked (a zip, a gzip) was found whole.
//! 2. Its bytes are on our disk, and its notices in the inbox, before the source is told (moved, deleted, or written
//!    down as taken). The types say so: `take::Stored`.
//! 3. A notice's key is the content's hash with the file's name (and the entry's): the same content again is a
//!    duplicate, other content under the same name is a new version.
//! 4. What was taken is read from the spool only. Whoever replaces, moves or deletes the file at the source meanwhile
//!    harms nothing, and a replay finds the same bytes.
//! 5. One process looks after a spool at a time (a lock); what no notice needs any more is removed from it. Whoever takes
//!    a file by hand does so in a turn of his own, beside it or alone (`turn`).
//!
//! A copy, not a hard link: a link shares the bytes with a sender who writes the same file anew in place.
//!
//! ```text
//! source ──list──> watch (complete?) ──copy──> draft ──check, hash──> spool/HASH ──notices──> inbox
//!    ^                                                                    ^                      │
//!    └──────────────── leave, move or delete <── taken (journal) <── receipts ───────────────────┘
//!                                                                    SpoolStore <── workers
//! ```
//!
//! The files import one way, down:
//!
//! ```text
//! feed ──> look ─┐               the daemon's loop
//! hand/ ─────────┴──> taker      people; either takes a file the same way
//!                       ├──> site, notices ──> take ──> archive ──> columns
//!                       └──> memory, spool ──> turn, taken, expect, saved
//! source/                        the place, whatever is spoken there
//! ```

mod archive;
mod columns;
mod expect;
mod feed;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hand;
mod key;
mod look;
mod memory;
mod naming;
mod notices;
mod saved;
mod settings;
mod site;
mod source;
mod spool;
mod store;
mod take;
mod taken;
mod taker;
mod trouble;
mod turn;
mod watch;

#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

pub use archive::ArchiveLimits;
pub use expect::{Every, Expect};
pub use feed::DropFeed;
pub use files::FileFilter;
pub use hand::{ByHand, Fetched, File, FileState, Gone, HandError, Holding, Left};
pub use naming::{DateOrder, Naming, Pattern};
pub use settings::DropSettings;
pub use source::{After, FtpSettings, Login, Place, S3Settings, SftpSettings, SourceSettings};
pub use store::SpoolStore;
pub use take::Outcome;
