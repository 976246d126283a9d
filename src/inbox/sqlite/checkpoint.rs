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
        if let Some(Err(MoveFault::Lost(reason))) = self.mover.ended(true) {
            self.beyond_repair(reason);
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
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

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
        let mut keeper = LogKeeper::new(path.clone(), 1).unwrap();
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
        let Frames { all, moved } = frames(&writer).unwrap();
        assert!(moved < all && (moved > 0) == in_part, "{moved} of {all}");
        writer
    }

    /// Watches over `path`, whose log is long from two frames on; `log` is how it is brought to disk.
    fn keeper_of_two(path: &Path, log: impl FnMut() -> io::Result<()> + Send + 'static) -> LogKeeper {
        LogKeeper::with(path.to_owned(), u64::MAX, 2, Mover::new(path.to_owned(), Box::new(log)))
    }

    /// An inbox whose log was cut, and how to write one page to it.
    fn with_a_short_log(folder: &Path) -> (PathBuf, Connection, impl Fn(&Connection)) {
        let path = folder.join("inbox.db");
        let writer = schema::prepare(&path).unwrap();
        cut(&writer).unwrap();
        (path, writer, |writer| assert_eq!(writer.execute("UPDATE keys_filed SET upto = upto + 1", []).unwrap(), 1))
    }

    #[test]
    fn a_long_log_is_moved_while_the_writer_goes_on_until_it_is_twice_as_long() {
        let folder = tempfile::tempdir().unwrap();
        let (path, writer, write) = with_a_short_log(folder.path());
        let (order, ordered) = mpsc::channel::<()>();
        let (asking, asked) = mpsc::channel();
        let mut keeper = keeper_of_two(&path, move || {
            asking.send(()).unwrap();
            ordered.recv().map_err(io::Error::other)
        });
        write(&writer);
        assert!(keeper.keep_short(&writer));
        assert!(!keeper.mover.is_moving(), "it is short");
        write(&writer);
        assert!(keeper.keep_short(&writer));
        asked.recv().unwrap();
        write(&writer);
        (keeper.looked, keeper.bytes_max) = (None, 0);
        assert!(keeper.keep_short(&writer));
        assert_eq!(
            frames(&writer).unwrap(),
            Frames { all: 3, moved: 0 },
            "it moves, and nobody waits for it or cuts it"
        );
        keeper.bytes_max = u64::MAX;
        write(&writer);
        order.send(()).unwrap();
        assert!(keeper.keep_short(&writer));
        assert_eq!(
            frames(&writer).unwrap(),
            Frames { all: 4, moved: 4 },
            "it was waited for, and what was left was moved"
        );
        write(&writer);
        assert_eq!(frames(&writer).unwrap(), Frames { all: 1, moved: 0 }, "the log has started over");
        assert!(keeper.keep_short(&writer));
        assert!(asked.try_recv().is_err(), "once");
        // What is written once it has moved is left to the writer.
        write(&writer);
        assert!(keeper.keep_short(&writer));
        order.send(()).unwrap();
        while frames(&writer).unwrap().moved == 0 {
            std::thread::yield_now();
        }
        write(&writer);
        while keeper.mover.is_moving() {
            assert!(keeper.keep_short(&writer));
        }
        assert_eq!(frames(&writer).unwrap(), Frames { all: 1, moved: 1 });
        assert!(keeper.finish());
    }

    #[test]
    fn what_a_reader_is_in_the_way_of_is_moved_later() {
        let folder = tempfile::tempdir().unwrap();
        let (path, writer, write) = with_a_short_log(folder.path());
        let reader = schema::connect(&path, Purpose::Read).unwrap();
        write(&writer);
        reader.execute_batch("BEGIN; SELECT count(*) FROM notices").unwrap();
        let moves = Arc::new(AtomicUsize::new(0));
        let mut keeper = keeper_of_two(&path, {
            let moves = Arc::clone(&moves);
            move || {
                moves.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        });
        (keeper.frames_max, keeper.long_from) = (8, 8);
        let mut keep_short = |writer: &Connection| {
            assert!(keeper.keep_short(writer));
            while keeper.mover.is_moving() {
                assert!(keeper.keep_short(writer));
            }
            moves.load(Ordering::SeqCst)
        };
        for all in 1..12 {
            assert_eq!(frames(&writer).unwrap().all, all);
            let expected = [0, 1, 2][usize::from(all >= 8) + usize::from(all >= 10)];
            assert_eq!(keep_short(&writer), expected, "with {all}");
            write(&writer);
        }
        assert_eq!(frames(&writer).unwrap(), Frames { all: 12, moved: 1 });
        reader.execute_batch("COMMIT").unwrap();
        // Another process moves it, and it starts over.
        cut(&schema::connect(&path, Purpose::Write).unwrap()).unwrap();
        for _ in 0..8 {
            assert_eq!(keep_short(&writer), 2);
            write(&writer);
        }
        assert_eq!(keep_short(&writer), 3);
        assert_eq!(frames(&writer).unwrap(), Frames { all: 8, moved: 8 });
    }

    #[test]
    fn a_log_that_cannot_be_synced_is_not_moved_and_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (path, writer, write) = with_a_short_log(folder.path());
        let mut keeper = keeper_of_two(&path, || Err(io::Error::other("the disk said no")));
        write(&writer);
        write(&writer);
        assert!(keeper.keep_short(&writer));
        write(&writer);
        write(&writer);
        assert!(!keeper.keep_short(&writer), "the disk does not do what it is told");
        assert_eq!(frames(&writer).unwrap(), Frames { all: 4, moved: 0 });
        assert!(!keeper.is_beyond_repair());
        keeper.write_over(&writer).unwrap();
        assert!(keeper.keep_short(&writer), "it is under way again");
        assert!(!keeper.finish(), "it failed again");
    }

    #[test]
    fn a_failed_sync_of_the_database_needs_a_new_start_if_a_part_was_moved_before() {
        let Some(folder) = sync_tests::folder_in_which_calls_fail() else {
            let test = "checkpoint::tests::a_failed_sync_of_the_database_needs_a_new_start_if_a_part_was_moved_before";
            for (name, calls) in [
                ("sync-in-part", "fsync,fdatasync:error=EIO:when=1"),
                ("sync", "fsync,fdatasync:error=EIO:when=1"),
                ("in-part", "pwrite64:error=EIO:when=1"),
                // A part moves only now, and that one is not SQLite's to sync: with a reader in the way, or a writer.
                ("sync-behind-reader", "fdatasync:error=EIO:when=1"),
                ("sync-behind-writer", "pwrite64:delay_enter=50000:when=1;fdatasync:error=EIO:when=1"),
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
        let reader = schema::connect(&path, Purpose::Read).unwrap();
        if folder.ends_with("sync-behind-reader") {
            reader.execute_batch("BEGIN; SELECT count(*) FROM runs").unwrap();
            connection.execute("INSERT INTO runs (started, selector) VALUES (1, 'x')", []).unwrap();
        }
        let mut keeper = keeper_of_two(&path, sync_log(&path).unwrap());
        assert!(keeper.keep_short(&connection), "it is under way");
        if folder.ends_with("sync-behind-writer") {
            keeper.frames_max = u64::MAX / 2;
            while keeper.mover.is_moving() && keeper.keep_short(&connection) {
                connection.execute("INSERT INTO runs (started, selector) VALUES (1, 'x')", []).unwrap();
            }
        } else if !folder.ends_with("sync-behind-reader") {
            assert!(!keeper.keep_short(&connection), "the disk does not do what it is told");
        }
        let name = folder.file_name().unwrap().to_str().unwrap();
        let is_lost = name == "sync-in-part" || name.starts_with("sync-behind");
        let written = keeper.write_over(&connection);
        assert_eq!(keeper.is_beyond_repair(), is_lost);
        if is_lost {
            assert!(matches!(written, Err(Fault::Refused(InboxError::RestartNeeded { .. }))), "{written:?}");
        } else {
            written.unwrap();
        }
        // The disk says yes again by now.
        assert!(is_lost != keeper.keep_short(&connection));
        assert!(is_lost != keeper.finish());
    }
}
