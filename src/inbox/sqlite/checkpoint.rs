//! Keeping the write-ahead log short, and sound. All checkpoints are made here: SQLite's own would pass over it in
//! silence when one fails, and the next would report success (see `relog`).
//!
//! Another reason: a reader in the wrong moment keeps the log from starting over; one long reader after the other would
//! let it grow until the disk is full.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Row, ffi};

use super::fault::Fault;
use super::relog;
use super::schema::{BUSY_TIMEOUT, Purpose, connect};
use crate::error::{Class, class_of_local_io};
use crate::inbox::InboxError;

/// How often the log's size is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long readers are waited for. Everything that is to be written waits too.
const READERS_TIMEOUT: Duration = Duration::from_millis(200);

/// Frames that the log may hold before they are moved into the database (16 MiB). Fewer: more fsyncs under load. More: a
/// longer recovery after a crash.
const CHECKPOINT_FRAMES: u64 = 4_000;

/// Moves the whole log into the database and cuts its file to nothing. Returns whether somebody was in the way.
fn checkpoint(connection: &Connection) -> Result<bool, Fault> {
    Ok(connection.query_row("PRAGMA main.wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? != 0))?)
}

/// How many frames the log has, and how many of them are in the database. `connection` has read something before.
pub(super) fn frames(connection: &Connection) -> Result<(u64, u64), Fault> {
    let counts = |row: &Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let (all, moved) = connection.prepare_cached("PRAGMA main.wal_checkpoint(NOOP)")?.query_row([], counts)?;
    // Without a log they are -1.
    Ok((u64::try_from(all).unwrap_or(0), u64::try_from(moved).unwrap_or(0)))
}

/// The size of the write-ahead log; 0 where there is none, as after a clean end.
pub(super) fn log_bytes(path: &Path) -> u64 {
    std::fs::metadata(log_path(path)).map_or(0, |file| file.len())
}

/// Where the write-ahead log of the database at `path` is.
pub(super) fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    PathBuf::from(log)
}

/// A log that was written over.
struct Written {
    /// How many frames it should have, and how many of them are in the database.
    frames: u64,
    moved: u64,
    /// How many there are.
    whole: u64,
}

/// Watches over the log.
#[derive(Debug)]
pub(super) struct LogKeeper {
    path: PathBuf,
    bytes_max: u64,
    frames_max: u64,
    looked: Option<Instant>,
    /// What only a new start can mend.
    beyond_repair: Option<InboxError>,
}

impl LogKeeper {
    pub(super) fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, frames_max: CHECKPOINT_FRAMES, looked: None, beyond_repair: None }
    }

    /// Whether only a new start can mend the inbox.
    pub(super) fn is_beyond_repair(&self) -> bool {
        self.beyond_repair.is_some()
    }

    /// To be called between transactions: moves a long log into the database, and cuts one that is too long and that
    /// nobody holds. Returns whether the disk still does what it is told; if not, the log is to be written over.
    pub(super) fn keep_short(&mut self, connection: &Connection) -> bool {
        if self.is_beyond_repair() {
            return false;
        }
        let mut moved_before = 0;
        let kept = frames(connection).and_then(|(all, moved)| {
            moved_before = moved;
            if all >= self.frames_max {
                connection.prepare_cached("PRAGMA main.wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))?;
            }
            self.cut(connection)
        });
        let Err(fault) = kept else { return true };
        tracing::warn!(inbox = %self.path.display(), ?fault, "the inbox's log cannot be moved into its database");
        if moved_before > 0 && is_failed_sync(&fault) {
            // Frames that an earlier checkpoint has moved are not moved again, and it may be their pages that were lost.
            self.beyond_repair(format!("a checkpoint's fsync failed ({fault:?})"));
        }
        !fault.is_io()
    }

    fn cut(&mut self, connection: &Connection) -> Result<(), Fault> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let bytes = log_bytes(&self.path);
        if bytes <= self.bytes_max {
            return Ok(());
        }
        connection.busy_timeout(READERS_TIMEOUT)?;
        let was_busy = checkpoint(connection);
        connection.busy_timeout(BUSY_TIMEOUT)?;
        if was_busy? {
            let inbox = self.path.display();
            tracing::warn!(%inbox, bytes, "the inbox's log is long, and a reader keeps it from being cut");
        }
        Ok(())
    }

    /// Brings the log to disk once more when it is not known what of it is there. To be called between transactions.
    pub(super) fn write_over(&mut self, connection: &Connection) -> Result<(), Fault> {
        if let Some(error) = &self.beyond_repair {
            return Err(Fault::Refused(error.clone()));
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let written = self.write_over_alone();
        connection.execute_batch("ROLLBACK")?;
        let Written { frames, moved, whole } = written?;
        if whole == frames {
            return Ok(());
        }
        if moved < frames {
            self.beyond_repair(format!("of {frames} frames in its log {whole} are left"));
            return self.write_over(connection);
        }
        // The database has all of it. What would be written behind a broken log could not be read again.
        if checkpoint(connection)? {
            let reason = "its log is broken, and cannot be left while somebody reads it".to_owned();
            return Err(InboxError::Unavailable { path: self.path.display().to_string(), reason }.into());
        }
        Ok(())
    }

    fn write_over_alone(&self) -> Result<Written, Fault> {
        // A connection within a transaction is not told.
        let looking = connect(&self.path, Purpose::Read)?;
        looking.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let (frames, moved) = frames(&looking)?;
        if frames == 0 {
            return Ok(Written { frames, moved, whole: 0 });
        }
        let whole = relog::write_over(&log_path(&self.path), frames).map_err(|error| {
            let path = self.path.display().to_string();
            Fault::Refused(match class_of_local_io(&error) {
                Class::DiskFull => InboxError::DiskFull { path },
                _ => InboxError::Unavailable { path, reason: format!("{error} (its log could not be written anew)") },
            })
        })?;
        Ok(Written { frames, moved, whole })
    }

    fn beyond_repair(&mut self, reason: String) {
        let error = InboxError::RestartNeeded { path: self.path.display().to_string(), reason };
        tracing::error!(%error);
        self.beyond_repair = Some(error);
    }
}

fn is_failed_sync(fault: &Fault) -> bool {
    matches!(fault, Fault::Sql(rusqlite::Error::SqliteFailure(failure, _))
        if matches!(failure.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::sqlite::schema::{self, Purpose};
    use crate::inbox::sqlite::sync_tests;

    #[test]
    fn a_long_log_is_cut_as_soon_as_no_reader_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inbox.db");
        let writer = schema::prepare(&path).unwrap();
        let reader = schema::connect(&path, Purpose::Read).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM notices").unwrap();
        writer.execute_batch("INSERT INTO runs (started, selector) VALUES (1, 'x')").unwrap();
        let mut keeper = LogKeeper::new(path.clone(), 1);
        keeper.keep_short(&writer);
        assert!(log_bytes(&path) > 0, "a reader's snapshot is not taken from under it");
        reader.execute_batch("COMMIT").unwrap();
        keeper.keep_short(&writer);
        assert!(log_bytes(&path) > 0, "not looked at again at once");
        keeper.looked = None;
        keeper.keep_short(&writer);
        assert_eq!(log_bytes(&path), 0);
    }

    /// A database whose log has been moved into it in part, if so, by connections that are still open.
    fn moved_in_part(path: &Path, in_part: bool) -> Connection {
        let writer = schema::prepare(path).unwrap();
        writer.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let write = || {
            let sql = "INSERT INTO runs (started, selector) VALUES (1, hex(randomblob(50000)))";
            writer.execute_batch(sql).unwrap();
        };
        write();
        let reader = schema::connect(path, Purpose::Read).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM runs").unwrap();
        write();
        if in_part {
            writer.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
        }
        let (all, moved) = frames(&writer).unwrap();
        assert!(moved < all && (moved > 0) == in_part, "{moved} of {all}");
        writer
    }

    #[test]
    fn a_failed_sync_of_the_database_needs_a_new_start_if_a_part_was_moved_before() {
        let Some(folder) = sync_tests::folder_in_which_calls_fail() else {
            let test = "checkpoint::tests::a_failed_sync_of_the_database_needs_a_new_start_if_a_part_was_moved_before";
            for (name, calls) in [
                ("sync-in-part", "fsync,fdatasync:error=EIO:when=1"),
                ("sync", "fsync,fdatasync:error=EIO:when=1"),
                ("in-part", "pwrite64:error=EIO:when=1"),
            ] {
                let folder = tempfile::tempdir().unwrap();
                let folder = folder.path().join(name);
                let path = folder.join("inbox.db");
                let open = moved_in_part(&path, name.contains("in-part"));
                sync_tests::in_which_fails(test, &folder, &path, calls);
                drop(open);
            }
            return;
        };
        let path = folder.join("inbox.db");
        let connection = schema::connect(&path, Purpose::Write).unwrap();
        connection.query_row("SELECT count(*) FROM runs", [], |_| Ok(())).unwrap();
        let mut keeper = LogKeeper::new(path, u64::MAX);
        keeper.frames_max = 1;
        assert!(!keeper.keep_short(&connection), "the disk does not do what it is told");
        let is_lost = folder.ends_with("sync-in-part");
        assert_eq!(keeper.is_beyond_repair(), is_lost);
        let written = keeper.write_over(&connection);
        if is_lost {
            assert!(matches!(written, Err(Fault::Refused(InboxError::RestartNeeded { .. }))), "{written:?}");
        } else {
            written.unwrap();
        }
        // The disk says yes again by now.
        assert_eq!(keeper.keep_short(&connection), !is_lost);
    }
}
