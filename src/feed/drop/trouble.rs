//! Why a drop could not be looked at, or a file of it not be taken.

use std::io;
use std::path::Path;

use super::source::SourceError;
use crate::error::{Class, Classify};
use crate::inbox::InboxError;

/// Why a look at the place did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{file} could not be stored: {error}")]
    Inbox { file: String, error: InboxError },
}

impl Classify for Trouble {
    fn class(&self) -> Class {
        match self {
            Self::Source(error) => error.class(),
            Self::Inbox { error, .. } => error.class(),
        }
    }
}

pub(super) fn spool_trouble(path: &Path, error: io::Error) -> SourceError {
    SourceError::Spool { path: path.display().to_string(), error }
}
