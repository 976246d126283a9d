//! What SQLite's errors mean for the inbox.

use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::inbox::InboxError;

/// Why a piece of work on the database failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite said so.
    Sql(rusqlite::Error),
    /// The contract says so.
    Refused(InboxError),
    /// A stored value is not one that this Longshore writes.
    Strange(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<InboxError> for Fault {
    fn from(error: InboxError) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    /// The error of the contract.
    pub(super) fn into_error(self, path: &Path) -> InboxError {
        let path = path.display().to_string();
        match self {
            Self::Refused(error) => error,
            Self::Strange(reason) => InboxError::Unusable { path, reason },
            Self::Sql(error) => from_sqlite(&error, path),
        }
    }

    /// Whether the disk failed under a write, so that what the log holds on disk is not known any more.
    pub(super) fn is_io(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure))
    }
}

fn from_sqlite(error: &rusqlite::Error, path: String) -> InboxError {
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => InboxError::DiskFull { path },
        Some(ErrorCode::DatabaseCorrupt) => InboxError::Unusable {
            path,
            reason: format!(
                "{reason}; the file is damaged: stop longshore, keep a copy, and recover it with the `.recover` of sqlite3"
            ),
        },
        Some(ErrorCode::NotADatabase) => {
            InboxError::Unusable { path, reason: "it is not an SQLite database: name another file".to_owned() }
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            InboxError::Unusable {
                path,
                reason: format!("{reason}; check that its folder exists and that you may write there"),
            }
        }
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::ApiMisuse) => InboxError::Unusable {
            path,
            reason: format!("{reason}; this is an error in longshore, and nothing was written: please report it"),
        },
        // A read-only file system may be mounted for writing again, a lock goes away, a disk may answer again.
        Some(
            ErrorCode::ReadOnly | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure,
        ) => InboxError::Unavailable { path, reason: with_os_error(error, reason) },
        _ => InboxError::Unavailable { path, reason },
    }
}

/// Names the system call that failed, where SQLite's extended code says it.
fn with_os_error(error: &rusqlite::Error, reason: String) -> String {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return reason;
    };
    let call = match failure.extended_code {
        ffi::SQLITE_IOERR_FSYNC => "fsync failed",
        ffi::SQLITE_IOERR_WRITE => "a write failed",
        ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ => "a read failed",
        _ => return reason,
    };
    format!("{reason} ({call})")
}
