//! What the sources on other machines have in common: where they are, who we are there, and how long we wait.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::contract::SourceError;
use crate::secret::Secret;

/// How long one step (a connection, a listing, a rename) may take, and how long a copy may stand still.
pub(super) const STEP_MAX: Duration = Duration::from_secs(60);

/// How long a farewell may take.
pub(super) const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// A folder on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The machine.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who we are there.
    pub user: String,
    /// The folder, as the server writes paths; `.` for the one that the user begins in.
    pub folder: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}{}", self.user, self.host, self.port, written(&self.folder))
    }
}

/// A path as an address has it: from the root, or from where the user begins.
pub(super) fn written(path: &str) -> String {
    match path {
        "." => "/~".to_owned(),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("/~/{path}"),
    }
}

impl Place {
    /// The path of a file in the folder.
    pub(super) fn path(&self, name: &str) -> String {
        match self.folder.as_str() {
            "." => name.to_owned(),
            folder => format!("{}/{name}", folder.trim_end_matches('/')),
        }
    }
}

/// A secret in a file of its own, read anew at each connection, without the line end that editors add.
pub(super) fn read_secret(path: &Path) -> Result<Secret, SourceError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Secret::new(text.trim_end_matches(['\r', '\n']))),
        Err(error) => Err(SourceError::Refused {
            object: path.display().to_string(),
            reason: error.to_string(),
            remedy: "put the password into this file, readable to the user who runs Longshore".to_owned(),
        }),
    }
}

/// The folder is not there.
pub(super) fn no_folder(object: String) -> SourceError {
    let remedy =
        "look at the folder in `source`: it counts from the server's root, after /~/ from where the user begins";
    SourceError::Refused { object, reason: "there is no such folder".to_owned(), remedy: remedy.to_owned() }
}

/// Waits for a step of the way to `object`, but not for ever.
pub(super) async fn step<T, E: fmt::Display>(
    object: &str,
    what: &str,
    doing: impl Future<Output = Result<T, E>>,
) -> Result<T, SourceError> {
    match tokio::time::timeout(STEP_MAX, doing).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(SourceError::trouble(object, format!("{what}: {error}"))),
        Err(_) => Err(SourceError::trouble(object, format!("{what}: no answer within {} s", STEP_MAX.as_secs()))),
    }
}

/// How an SFTP server knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// By a password, in this file.
    Password(PathBuf),
    /// By a private key, in this file.
    Key(PathBuf),
}
