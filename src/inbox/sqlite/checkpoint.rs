//! Keeping the write-ahead log short, and sound. All checkpoints are made here and by the `mover`: SQLite's own would pass
//! over it in silence when one fails, and the next would report success (see `relog`).
//!
//! Another reason: a reader in the wrong moment keeps the log from starting over; one long reader after the other would
//! let it grow until the disk is full.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::fault::Fault;
use super::mover::{Frames, MoveFault, Mover, frames, move_frames};
use super::relog;
use super::schema::{BUSY_TIMEOUT, Purpose, connect};
use super::syncer::sync_log;
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
fn cut(connection: &Connection) -> Result<bool, Fault> {
    Ok(connection.query_row("PRAGMA main.wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? != 0))?)
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
    /// What it should have.
    frames: Frames,
    /// How many frames there are.
    whole: u64,
}

/// Watches over the log.
pub(super) struct LogKeeper {
    path: PathBuf,
    bytes_max: u64,
    frames_max: u64,
    /// From how many frames on the log is moved next.
    long_from: u64,
    looked: Option<Instant>,
    mover: Mover,
    /// What only a new start can mend.
    beyond_repair: Option<InboxError>,
}

impl LogKeeper {
    /// For the inbox at `path`, whose log exists.
    pub(super) fn new(path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let mover = Mover::new(path.clone(), sync_log(&path)?);
        Ok(Self::with(path, bytes_max, CHECKPOINT_FRAMES, mover))
    }

    fn with(path: PathBuf, bytes_max: u64, frames_max: u64, mover: Mover) -> Self {
        Self { path, bytes_max, frames_max, long_from: frames_max, looked: None, mover, beyond_repair: None }
    }

    /// Whether only a new start can mend the inbox.
    pub(super) fn is_beyond_repair(&self) -> bool {
        self.beyond_repair.is_some()
    }

    /// To be called between transactions: has a long log moved into the database, and cuts one that is too long and that
    /// nobody holds. Returns whether the disk still does what it is told; if not, the log is to be written over.
    pub(super) fn keep_short(&mut self, connection: &Connection) -> bool {
        if self.is_beyond_repair() {
            return false;
        }
        match self.shorten(connection) {
            Ok(()) => true,
            Err(fault) => self.is_sound_after(fault),
        }
    }

    /// Ends what is under way; as [`LogKeeper::keep_short`].
    pub(super) fn finish(&mut self) -> bool {
        match self.mover.finish() {
            Some(Err(fault)) => self.is_sound_after(fault),
            _ => !self.is_beyond_repair(),
        }
    }

    fn is_sound_after(&mut self, fault: MoveFault) -> bool {
        let inbox = self.path.display();
        match fault {
            MoveFault::Log(error) => {
                tracing::warn!(%inbox, %error, "the inbox's log cannot be brought to disk");
                false
            }
            MoveFault::Sql(fault) => {
                tracing::warn!(%inbox, ?fault, "the inbox's log cannot be moved into its database");
                !fault.is_io()
            }
            MoveFault::Lost(reason) => {
                self.beyond_repair(reason);
                false
            }
        }
    }

    fn shorten(&mut self, connection: &Connection) -> Result<(), MoveFault> {
        self.move_long(connection)?;
        if self.mover.is_moving() || self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        let moved = frames(connection)?.moved;
        self.cut(connection).map_err(|fault| MoveFault::new(fault, moved))
    }

    fn move_long(&mut self, connection: &Connection) -> Result<(), MoveFault> {
        let Frames { all, moved } = frames(connection)?;
        if all < self.frames_max {
            // It has started over.
            self.long_from = self.frames_max;
        }
        // A disk that does not keep up is waited for, or the log would grow for ever.
        let is_too_long = all >= 2 * self.frames_max;
        match self.mover.ended(is_too_long) {
            // How it goes here is what counts.
            Some(Err(MoveFault::Sql(fault))) if !fault.is_io() => tracing::debug!(?fault, "the log was not moved"),
            Some(ended) => ended?,
            None if self.mover.is_moving() || all < self.long_from || self.mover.begin(moved) => return Ok(()),
            None => {}
        }
        let moved = frames(connection)?.moved;
        let Frames { all, moved } = move_frames(connection, moved)?;
        // With a reader in the way nothing more can be moved at once.
        self.long_from = if moved < all { all + self.frames_max / 4 } else { self.frames_max };
        Ok(())
    }

    fn cut(&self, connection: &Connection) -> Result<(), Fault> {
        let bytes = log_bytes(&self.path);
        if bytes <= self.bytes_max {
            return Ok(());
        }
        connection.busy_timeout(READERS_TIMEOUT)?;
        let was_busy = cut(connection);
        connection.busy_timeout(BUSY_TIMEOUT)?;
        if was_busy? {
            let inbox = self.path.display();
            tracing::warn!(%inbox, bytes, "the inbox's log is long, and a reader keeps it from being cut");
        }
        Ok(())
    }

    /// Brings the log to disk once more when it is not known what of it is there. To be called between transactions.
    pub(super) fn write_over(&mut self, connection: &Connection) -> Result<(), Fault> {
        if let Some(Err(fault)) = self.mover.ended(true) {
            // What is not lost is mended here.
            self.is_sound_after(fault);
        }
        if let Some(error) = &self.beyond_repair {
            return Err(Fault::Refused(error.clone()));
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let written = self.write_over_alone();
        connection.execute_batch("ROLLBACK")?;
        let Written { frames: Frames { all, moved }, whole } = written?;
        if whole == all {
            return Ok(());
        }
        if moved < all {
            self.beyond_repair(format!("of {all} frames in its log {whole} are left"));
            return self.write_over(connection);
        }
        // The database has all of it. What would be written behind a broken log could not be read again.
        if cut(connection)? {
            let reason = "its log is broken, and cannot be left while somebody reads it".to_owned();
            return Err(InboxError::Unavailable { path: self.path.display().to_string(), reason }.into());
        }
        Ok(())
    }

    fn write_over_alone(&self) -> Result<Written, Fault> {
        // A connection within a transaction is not told.
        let looking = connect(&self.path, Purpose::Read)?;
        looking.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let frames = frames(&looking)?;
        if frames.all == 0 {
            return Ok(Written { frames, whole: 0 });
        }
        let whole = relog::write_over(&log_path(&self.path), frames.all).map_err(|error| {
            let path = self.path.display().to_string();
            Fault::Refused(match class_of_local_io(&error) {
                Class::DiskFull => InboxError::DiskFull { path },
                _ => InboxError::Unavailable { path, reason: format!("{error} (its log could not be written anew)") },
            })
        })?;
        Ok(Written { frames, whole })
    }

    fn beyond_repair(&mut self, reason: String) {
        let error = InboxError::RestartNeeded { path: self.path.display().to_string(), reason };
        tracing::error!(%error);
        self.beyond_repair = Some(error);
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
