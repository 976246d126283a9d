//! Where files are dropped, and the way there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::contract::{After, Source, SourceError};
use super::directory::Directory;
use super::ftp::{Ftp, FtpSettings};
use super::s3::{S3, S3Settings};
use super::sftp::{Sftp, SftpSettings};
use crate::feed::store::Connection;
use crate::probe::Step;

/// A place where files are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSettings {
    /// A folder of this machine.
    Directory(PathBuf),
    /// A folder on an SFTP server.
    Sftp(SftpSettings),
    /// A folder on an FTP server.
    Ftp(FtpSettings),
    /// A folder of a bucket in S3.
    S3(S3Settings),
}

/// The way to a place, with what is worth keeping from one look to the next.
pub(in crate::feed::drop) struct Way {
    settings: SourceSettings,
    /// The client of a bucket: it reads its secrets again when they were replaced.
    bucket: Option<Arc<Connection>>,
}

impl Way {
    /// Nothing is opened yet.
    pub(in crate::feed::drop) fn new(settings: SourceSettings) -> Self {
        let bucket = match &settings {
            SourceSettings::S3(settings) => Some(Arc::new(settings.connection())),
            _ => None,
        };
        Self { settings, bucket }
    }

    /// Opens the way to the place. A connection is used for one look at it.
    pub(in crate::feed::drop) async fn connect(&self) -> Result<Box<dyn Source>, SourceError> {
        match (&self.settings, &self.bucket) {
            (SourceSettings::Directory(path), _) => Ok(Box::new(Directory::open(path).await?)),
            (SourceSettings::Sftp(settings), _) => Ok(Box::new(Sftp::connect(settings).await?)),
            (SourceSettings::Ftp(settings), _) => Ok(Box::new(Ftp::connect(settings).await?)),
            (SourceSettings::S3(settings), Some(bucket)) => Ok(Box::new(S3::open(settings, bucket)?)),
            (SourceSettings::S3(settings), None) => Ok(Box::new(S3::open(settings, &Arc::new(settings.connection()))?)),
        }
    }

    /// Walks the way to the place, step by step.
    pub(in crate::feed::drop) async fn probe(&self, after: &After) -> Vec<Step> {
        let writes = *after != After::Leave;
        match &self.settings {
            SourceSettings::Directory(path) => super::directory::probe(path, writes).await,
            SourceSettings::Sftp(_) | SourceSettings::Ftp(_) => {
                super::probe::walk(&self.settings.to_string(), self.connect(), writes).await
            }
            SourceSettings::S3(settings) => super::s3_probe::walk(settings, after).await,
        }
    }
}

/// For people: where it is, without a secret.
impl fmt::Display for SourceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Sftp(settings) => write!(f, "sftp://{}", settings.place),
            Self::Ftp(settings) if settings.is_secure => write!(f, "ftps://{}", settings.place),
            Self::Ftp(settings) => write!(f, "ftp://{}", settings.place),
            Self::S3(settings) => write!(f, "{settings}"),
        }
    }
}
