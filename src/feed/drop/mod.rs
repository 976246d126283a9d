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

use std::path::PathBuf;
use std::time::Duration;

use crate::feed::filter::BlobTypeFilter;
use crate::notice::FeedName;

mod archive;
mod columns;
mod directory;
mod expect;
mod feed;
mod files;
mod ftp;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hand;
mod holding;
mod look;
mod memory;
mod naming;
mod notices;
mod probe;
mod remote;
mod s3;
mod s3_probe;
mod sftp;
mod source;
mod spool;
mod store;
mod take;
mod taken;
mod taker;
mod turn;
mod watch;

#[cfg(test)]
mod hand_tests;
#[cfg(test)]
mod tests;

pub use archive::ArchiveLimits;
pub use expect::{Every, Expect};
pub use feed::DropFeed;
pub use files::FileFilter;
pub use ftp::FtpSettings;
pub use hand::{Fetched, HandError, Left};
pub use holding::{ByHand, File, FileState, Gone, Holding};
pub use naming::{DateOrder, Naming, Pattern};
pub use remote::{Login, Place};
pub use s3::S3Settings;
pub use sftp::SftpSettings;
pub use source::SourceSettings;
pub use store::SpoolStore;
pub use take::Outcome;

/// A place where files are dropped.
#[derive(Clone, Debug)]
pub struct DropSettings {
    /// The feed's name in the configuration.
    pub name: FeedName,
    /// Which blob types are wanted; others are stored as skipped.
    pub filter: BlobTypeFilter,
    /// The place.
    pub source: SourceSettings,
    /// The folder of our copies.
    pub spool: PathBuf,
    /// Which files are looked at.
    pub files: FileFilter,
    /// The name of a file that says that another is complete; `{file}` stands for that one's name.
    pub marker: Option<String>,
    /// How often the place is looked at.
    pub poll: Duration,
    /// For how long size and time must have stood still.
    pub stable_for: Duration,
    /// For how long a file that is not whole may still become so; after that it is set aside.
    pub incomplete_for: Duration,
    /// What becomes of a file at the source once it is stored.
    pub after: After,
    /// How blob type and date are read from a name.
    pub naming: Naming,
    /// What has to come, and by when.
    pub expect: Option<Expect>,
    /// Bounds of what a file may be.
    pub limits: ArchiveLimits,
    /// The largest number of notices in one commit.
    pub commit_notices_max: usize,
}

/// What becomes of a file at the source once it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// It stays, and is remembered.
    Leave,
    /// It is moved to this folder, which lies in the source's own.
    Move(String),
    /// It is deleted.
    Delete,
}
