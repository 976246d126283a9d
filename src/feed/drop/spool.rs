//! The spool: our copies of what was dropped, each under the SHA-256 of its content.
//!
//! A copy is written to a draft, synced, and renamed to its hash, so that a name that is a hash is always whole. What is
//! there is never written again. Everything is closed to others.
//!
//! ```text
//! spool/NAME/            0700
//!     lock               held by the process that looks after it
//!     turn, wanted       whose turn it is, of that process and of who takes a file by hand
//!     taken              the journal of what was taken
//!     incomplete         which files were found not to be whole, and why
//!     columns, arrivals  the last columns of each blob type; what came of what is expected
//!     draft-PID          a copy that is not whole; removed at the next start or sweep
//!     <64 hex digits>    0600, whole
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use aws_lc_rs::digest;
use tokio::io::AsyncWriteExt as _;

use super::key::{ContentHash, key_prefix};
use super::source::{Receive, SourceError};
use super::turn::Turn;
use crate::inbox::{InboxError, SharedInbox};
use crate::notice::FeedName;

/// Keys that the inbox is asked for at once.
const ASKED_AT_ONCE: usize = 500;

/// The folder of our copies.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    /// Locked as long as it is open, by the process that looks after it.
    _lock: Option<File>,
}

/// Where a content lies.
pub(super) fn path_of(folder: &Path, hash: &ContentHash) -> PathBuf {
    folder.join(hash.as_str())
}

impl Spool {
    /// Makes the folder if it is not there. Whoever looks after it may be there beside us: what is done here is done in
    /// one's turn.
    pub(super) fn beside(folder: &Path) -> Result<Self, SourceError> {
        let fail = |error: io::Error| SourceError::Spool { path: folder.display().to_string(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
        Ok(Self { folder: folder.to_owned(), _lock: None })
    }

    /// Makes the folder if it is not there, and takes its lock. Blocks for some milliseconds.
    pub(super) fn open(folder: &Path) -> Result<Self, SourceError> {
        let fail = |error: io::Error| SourceError::Spool { path: folder.display().to_string(), error };
        let spool = Self::beside(folder)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"));
        let lock = lock.map_err(fail)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            SourceError::Refused {
                object: folder.display().to_string(),
                reason: "another process looks after this spool".to_owned(),
                remedy: "let one daemon hear a drop; others may `work` on the same inbox".to_owned(),
            }
        })?;
        Ok(Self { _lock: Some(lock), ..spool })
    }

    /// Removes what processes that were cut off left half done. In one's turn nobody else has a draft.
    pub(super) fn clear(&self, _turn: &Turn) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("draft-") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins a copy of at most `bytes_max` bytes.
    pub(super) async fn draft(&self, object: &str, bytes_max: u64) -> Result<Draft, SourceError> {
        let path = self.folder.join(format!("draft-{}", std::process::id()));
        let file = tokio::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .await
            .map_err(|error| SourceError::Spool { path: path.display().to_string(), error })?;
        let hash = digest::Context::new(&digest::SHA256);
        Ok(Draft { path, file, hash, size: 0, object: object.to_owned(), bytes_max })
    }

    /// Makes a finished draft a content that is kept, and returns once that is on disk.
    pub(super) async fn keep(&self, draft: Copied) -> Result<(), SourceError> {
        let goal = path_of(&self.folder, &draft.hash);
        let folder = self.folder.clone();
        let path = goal.display().to_string();
        let kept = tokio::task::spawn_blocking(move || {
            draft.file.sync_all()?;
            // Over what is there: whatever happened to that, this one is whole.
            std::fs::rename(&draft.path, &goal)?;
            File::open(&folder)?.sync_all()
        });
        let kept = kept.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        kept.map_err(|error| SourceError::Spool { path, error })
    }

    /// Removes every content that no notice of the feed refers to any more. Returns how many, and the bytes that are
    /// left. Nothing is taken meanwhile: it is our turn.
    pub(super) async fn sweep(&self, feed: &FeedName, inbox: &SharedInbox, turn: &Turn) -> Result<Swept, SweepError> {
        self.clear(turn)?;
        let mut swept = Swept::default();
        let contents = self.contents()?;
        for some in contents.chunks(ASKED_AT_ONCE) {
            let prefixes = some.iter().map(|(hash, _)| key_prefix(hash)).collect();
            let held = inbox.holds(feed.clone(), prefixes).await?;
            for ((hash, bytes), held) in some.iter().zip(held) {
                if held {
                    swept.kept_bytes += bytes;
                } else {
                    std::fs::remove_file(path_of(&self.folder, hash))?;
                    swept.removed += 1;
                }
            }
        }
        Ok(swept)
    }

    fn contents(&self) -> io::Result<Vec<(ContentHash, u64)>> {
        let mut contents = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if let Some(hash) = entry.file_name().to_str().and_then(ContentHash::parse) {
                contents.push((hash, entry.metadata()?.len()));
            }
        }
        Ok(contents)
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) removed: usize,
    pub(super) kept_bytes: u64,
}

/// Why a spool could not be swept; it is tried again later.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Inbox(#[from] InboxError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A copy that is being written.
pub(super) struct Draft {
    path: PathBuf,
    file: tokio::fs::File,
    hash: digest::Context,
    size: u64,
    object: String,
    bytes_max: u64,
}

/// A copy that is written, and not kept yet.
pub(super) struct Copied {
    path: PathBuf,
    /// Open for reading from any place.
    pub(super) file: File,
    pub(super) hash: ContentHash,
    pub(super) size: u64,
}

impl Draft {
    /// Ends the copy.
    pub(super) async fn finish(mut self) -> Result<Copied, SourceError> {
        self.file.flush().await.map_err(|error| self.fail(error))?;
        let hash = ContentHash::of(self.hash);
        Ok(Copied { path: self.path, file: self.file.into_std().await, hash, size: self.size })
    }

    fn fail(&self, error: io::Error) -> SourceError {
        SourceError::Spool { path: self.path.display().to_string(), error }
    }
}

#[async_trait]
impl Receive for Draft {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.size += bytes.len() as u64;
        if self.size > self.bytes_max {
            return Err(SourceError::TooLarge { object: self.object.clone(), bytes_max: self.bytes_max });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).await.map_err(|error| self.fail(error))
    }
}
