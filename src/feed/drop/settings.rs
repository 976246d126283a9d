//! What a drop is configured to be.

use std::path::PathBuf;
use std::time::Duration;

use super::archive::ArchiveLimits;
use super::expect::Expect;
use super::files::FileFilter;
use super::naming::Naming;
use super::source::{After, SourceSettings};
use crate::feed::filter::BlobTypeFilter;
use crate::notice::FeedName;

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
