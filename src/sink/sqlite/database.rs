//! The database of a sink: its connection, its progress table, and the one transaction that holds both.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::clock::UnixMs;
use crate::error::{Class, class_of_local_io};

/// How long a write waits for another one to the same file: another sink's, or another program's.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// How long the progress of a delivery is kept after its last batch. Without it a delivery is done again from where
/// the inbox has it, with the same end, so this only has to outlive retries.
const PROGRESS_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Old progress is removed once in so many deliveries.
const PRUNE_EVERY: u64 = 1_000;

const PROGRESS_SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS longshore_progress (
        delivery TEXT PRIMARY KEY NOT NULL,
        confirmed INTEGER NOT NULL,
        refused_up_to INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL
    ) WITHOUT ROWID";

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl DatabaseError {
    pub(super) fn class(&self) -> Class {
        let code = match self {
            Self::Io(error) => return class_of_local_io(error),
            Self::Sqlite(error) => error.sqlite_error_code(),
        };
        match code {
            Some(ErrorCode::DiskFull) => Class::DiskFull,
            // A table of another shape, a file that is no database: the same statement fails again.
            Some(
                ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::Unknown
                | ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig,
            )
            | None => Class::Permanent,
            Some(_) => Class::Transient,
        }
    }

    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => ": free some space",
                Some(ErrorCode::NotADatabase) => ": it is no SQLite database, name another file",
                Some(ErrorCode::DatabaseCorrupt) => ": restore it from a copy, then replay what came since",
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => ": let longshore's user write it and its folder",
                Some(ErrorCode::Unknown) => ": a table of this name may have other columns, name another one",
                _ => "",
            },
            Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                ": let longshore's user write it and its folder"
            }
            Self::Io(_) => "",
        }
    }
}

/// A row to be written.
pub(super) struct Row<'a> {
    pub(super) key: String,
    pub(super) body: &'a str,
    pub(super) version: Value,
    pub(super) record: u64,
}

/// What the rows of a delivery share.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The table's name, quoted for SQL.
    pub(super) table: String,
    pub(super) delivery: String,
    pub(super) published: UnixMs,
    pub(super) sequence: i64,
    pub(super) notice: i64,
}

/// How far a batch brings its delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The number of the batch's last record.
    pub(super) last: u64,
    /// Whether records of the batch were refused.
    pub(super) has_refused: bool,
    pub(super) now: UnixMs,
}

/// A database file; opened at the first use, and again after an error or when another file has taken its place.
pub(super) struct Database {
    path: PathBuf,
    open: Option<(Connection, FileId)>,
    deliveries: u64,
}

type FileId = (u64, u64);

impl Database {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None, deliveries: 0 }
    }

    /// Makes the table of a delivery ready. Returns the number of the record after which the delivery goes on, given
    /// how far the inbox has it.
    pub(super) fn begin(&mut self, origin: &Origin, in_inbox: u64, now: UnixMs) -> Result<u64, DatabaseError> {
        if self.open.as_ref().is_some_and(|(_, id)| file_id(&self.path).ok() != Some(*id)) {
            // Moved or removed under us: what is written to the open file would be lost.
            self.open = None;
        }
        self.deliveries += 1;
        let is_prune_due = self.open.is_none() || self.deliveries.is_multiple_of(PRUNE_EVERY);
        self.with(|connection| {
            connection.execute_batch(&table_schema(&origin.table))?;
            if is_prune_due {
                let before = now.minus(PROGRESS_KEPT).0;
                connection.execute("DELETE FROM longshore_progress WHERE updated_ms < ?1", [before])?;
            }
            let stored: Option<(i64, i64)> = connection
                .prepare_cached("SELECT confirmed, refused_up_to FROM longshore_progress WHERE delivery = ?1")?
                .query_row([&origin.delivery], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let (confirmed, refused_up_to) = stored.unwrap_or_default();
            // Batches of which the inbox knows nothing are skipped only if none of their records was refused: those
            // have not been reported. They are done again otherwise, which changes nothing in the table.
            let is_all_reported = number(refused_up_to) <= in_inbox;
            Ok(if is_all_reported { in_inbox.max(number(confirmed)) } else { in_inbox })
        })
    }

    /// Writes rows and progress in one transaction. A row gives way to none but a newer one.
    pub(super) fn apply(&mut self, origin: &Origin, rows: &[Row<'_>], step: Step) -> Result<(), DatabaseError> {
        self.with(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut upsert = transaction.prepare_cached(&upsert(&origin.table))?;
                for row in rows {
                    upsert.execute(params![
                        row.key,
                        row.body,
                        row.version,
                        origin.published.0,
                        origin.sequence,
                        origin.notice,
                        signed(row.record),
                    ])?;
                }
                let refused_up_to = if step.has_refused { step.last } else { 0 };
                transaction
                    .prepare_cached(
                        "INSERT INTO longshore_progress (delivery, confirmed, refused_up_to, updated_ms)
                         VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT (delivery) DO UPDATE SET
                             confirmed = max(confirmed, excluded.confirmed),
                             refused_up_to = max(refused_up_to, excluded.refused_up_to),
                             updated_ms = excluded.updated_ms",
                    )?
                    .execute(params![origin.delivery, signed(step.last), signed(refused_up_to), step.now.0])?;
            }
            transaction.commit()
        })
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, DatabaseError> {
        let (mut connection, id) = match self.open.take() {
            Some(open) => open,
            None => connect(&self.path)?,
        };
        // After an error the connection is dropped, and with it whatever state the error left.
        let done = work(&mut connection)?;
        self.open = Some((connection, id));
        Ok(done)
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.open.as_ref().expect("opened by the test before").0
    }
}

fn connect(path: &Path) -> Result<(Connection, FileId), DatabaseError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    }
    // SQLite would make the file readable by everyone.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    crate::write_ahead::switch_to_wal(&connection, BUSY_WAIT)?;
    // In WAL mode the default would lose the last commits with the power, after the inbox has them as done.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(PROGRESS_SCHEMA)?;
    Ok((connection, file_id(path)?))
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn table_schema(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (
            key TEXT PRIMARY KEY NOT NULL,
            body TEXT NOT NULL,
            version NOT NULL,
            published_ms INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            notice INTEGER NOT NULL,
            record INTEGER NOT NULL
        )"
    )
}

/// Newer wins, by version, then by when the notice was published, then by the source's running number, and within
/// these by the order of notices and of records. Equal is the same record again, and written again.
fn upsert(table: &str) -> String {
    format!(
        "INSERT INTO {table} AS stored (key, body, version, published_ms, sequence, notice, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (key) DO UPDATE SET
             body = excluded.body, version = excluded.version, published_ms = excluded.published_ms,
             sequence = excluded.sequence, notice = excluded.notice, record = excluded.record
         WHERE (excluded.version, excluded.published_ms, excluded.sequence, excluded.notice, excluded.record)
            >= (stored.version, stored.published_ms, stored.sequence, stored.notice, stored.record)"
    )
}

/// SQLite's integers are signed; no payload has 2^63 records.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or(0)
}
