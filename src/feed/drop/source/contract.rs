//! What a source promises: one small trait over a folder here and folders elsewhere, and what it says of their files.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Class, Classify};

/// Files of a folder that are looked at; more are looked at once these are gone, and that is told.
pub(in crate::feed::drop) const FILES_MAX: usize = 100_000;

/// What tells a version of a file from others, as far as the source knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::feed::drop) struct Stamp {
    /// In bytes.
    pub(in crate::feed::drop) size: u64,
    /// When it was written, in milliseconds since 1970, where the source says so.
    pub(in crate::feed::drop) modified_ms: Option<i64>,
    /// What else the source knows, such as an inode or an ETag.
    pub(in crate::feed::drop) tag: String,
}

/// A file at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::feed::drop) struct Listed {
    /// Its name in the folder.
    pub(in crate::feed::drop) name: String,
    pub(in crate::feed::drop) stamp: Stamp,
}

/// A connection to a place.
#[async_trait]
pub(in crate::feed::drop) trait Source: Send {
    /// The files in the folder, in any order; no more than `files_max` of them.
    async fn list(&mut self, files_max: usize) -> Result<Vec<Listed>, SourceError>;

    /// What the file is now; `None` if it is gone.
    async fn stat(&mut self, name: &str) -> Result<Option<Stamp>, SourceError>;

    /// Gives the file's bytes to `into`, from its start to its end. A source that can tell reads the version that was
    /// listed and no other; with the others, whoever reads looks at the file's stamp again afterwards.
    async fn read(&mut self, file: &Listed, into: &mut dyn Receive) -> Result<ReadEnd, SourceError>;

    /// Deletes the file; one that is gone already is fine.
    async fn delete(&mut self, name: &str) -> Result<(), SourceError>;

    /// Says farewell to the other side.
    async fn leave(self: Box<Self>) {}

    /// What is seen of the other side, such as its key.
    fn seen(&self) -> Option<String> {
        None
    }

    /// Moves the file to a folder below this one, which is made if it is not there. Nothing is overwritten. A file that
    /// is gone already is fine.
    async fn move_to(&mut self, name: &str, goal: &Goal<'_>) -> Result<(), SourceError>;
}

/// How the reading of a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::feed::drop) enum ReadEnd {
    /// At the file's end.
    Whole,
    /// There is another version of it now; what was read is of no use.
    Replaced,
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

/// Where a file is moved.
#[derive(Clone, Copy, Debug)]
pub(in crate::feed::drop) struct Goal<'a> {
    /// The folder, below the source's own.
    pub(in crate::feed::drop) folder: &'a str,
    /// The name to take where the own one is taken; no other content has it.
    pub(in crate::feed::drop) other: &'a str,
    /// The SHA-256 of the content, for a source that has to find out whether what lies there is a copy of its own.
    pub(in crate::feed::drop) hash: &'a str,
}

/// What takes a file's bytes.
#[async_trait]
pub(in crate::feed::drop) trait Receive: Send {
    /// Takes the next bytes.
    async fn take(&mut self, bytes: &[u8]) -> Result<(), SourceError>;
}

/// Why the source could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(in crate::feed::drop) enum SourceError {
    /// It may work the next time.
    #[error("{object}: {reason}")]
    Trouble {
        /// The file or place.
        object: String,
        /// What happened, redacted.
        reason: String,
    },
    /// It will not work until somebody changes something.
    #[error("{object}: {reason}; {remedy}")]
    Refused {
        /// The file or place.
        object: String,
        /// What happened, redacted.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The server is not known by its key. Nothing was said to it; the feed stops until a person has looked.
    #[error(
        "{object}: the server shows the host key {fingerprint}, and {why}; if its owner confirms the key, add it to \
         `host_keys` and start again, else somebody stands between"
    )]
    HostKey {
        /// The place.
        object: String,
        /// Such as `SHA256:…`.
        fingerprint: String,
        /// What it was compared with.
        why: String,
    },
    /// Our own disk has no room or does not work.
    #[error("{path} cannot be written: {error}")]
    Spool {
        /// The file.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// The file is larger than is allowed.
    #[error("{object} is larger than {bytes_max} bytes (`file_bytes_max`), and is left where it is")]
    TooLarge {
        /// The file.
        object: String,
        /// The bound.
        bytes_max: u64,
    },
}

/// How many files a folder holds, for people.
pub(super) fn in_it(files: usize) -> String {
    format!("{files} {} in it", if files == 1 { "file" } else { "files" })
}

impl SourceError {
    /// What happened, where what to do stands beside it.
    pub(super) fn without_remedy(&self) -> String {
        match self {
            Self::Refused { object, reason, .. } => format!("{object}: {reason}"),
            Self::HostKey { object, fingerprint, why } => {
                format!("{object}: the server shows the host key {fingerprint}, and {why}")
            }
            other => other.to_string(),
        }
    }

    /// An error that names its object, from elsewhere.
    pub(in crate::feed::drop) fn trouble(object: impl Into<String>, error: impl fmt::Display) -> Self {
        Self::Trouble { object: object.into(), reason: crate::secret::redact(&error.to_string()) }
    }
}

impl Classify for SourceError {
    fn class(&self) -> Class {
        match self {
            Self::Trouble { .. } => Class::Transient,
            Self::Refused { .. } | Self::HostKey { .. } | Self::TooLarge { .. } => Class::Permanent,
            Self::Spool { error, .. } => crate::error::class_of_local_io(error),
        }
    }
}
