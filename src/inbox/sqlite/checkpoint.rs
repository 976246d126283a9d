//! Keeping the write-ahead log short. SQLite moves it into the database by itself, but a reader in the wrong moment
//! keeps it from starting over; one long reader after the other would let it grow until the disk is full.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::fault::Fault;
use super::schema::BUSY_TIMEOUT;

/// How often the log's size is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long readers are waited for. Everything that is to be written waits too.
const READERS_TIMEOUT: Duration = Duration::from_millis(200);

/// Moves the whole log into the database and cuts its file to nothing. Returns whether somebody was in the way.
pub(super) fn checkpoint(connection: &Connection) -> Result<bool, Fault> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? != 0))?)
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

/// Watches the log's size.
#[derive(Debug)]
pub(super) struct LogKeeper {
    path: PathBuf,
    bytes_max: u64,
    looked: Option<Instant>,
}

impl LogKeeper {
    pub(super) fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, looked: None }
    }

    /// To be called between transactions: cuts the log if it is too long and nobody holds it.
    pub(super) fn keep_short(&mut self, connection: &Connection) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let bytes = log_bytes(&self.path);
        if bytes <= self.bytes_max {
            return;
        }
        let cut = connection
            .busy_timeout(READERS_TIMEOUT)
            .map_err(Fault::from)
            .and_then(|()| checkpoint(connection))
            .and_then(|was_busy| connection.busy_timeout(BUSY_TIMEOUT).map_err(Fault::from).map(|()| was_busy));
        let inbox = self.path.display();
        match cut {
            Ok(false) => {}
            Ok(true) => tracing::warn!(%inbox, bytes, "the inbox's log is long, and a reader keeps it from being cut"),
            Err(fault) => tracing::warn!(%inbox, bytes, ?fault, "the inbox's log is long and cannot be cut"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::sqlite::schema::{self, Purpose};

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
}
