//! Switching an SQLite file to its write-ahead log, also while another connection does the same.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

/// How long to wait before asking again. The switch is one page write of the other side.
const PAUSE: Duration = Duration::from_millis(5);

/// Puts the file of `connection` into WAL mode; returns the mode that is in force then. Asks again for up to `wait`
/// while another connection holds the file: the switch needs it alone for a moment, and SQLite answers `SQLITE_BUSY`
/// to it at once, without asking the busy handler (<https://www.sqlite.org/wal.html>, section "Activating And
/// Configuring WAL Mode"; <https://www.sqlite.org/c3ref/busy_handler.html>).
///
/// # Errors
/// What SQLite says; [`ErrorCode::DatabaseBusy`] when the file was held for all of `wait`.
pub fn switch_to_wal(connection: &Connection, wait: Duration) -> rusqlite::Result<String> {
    let started = Instant::now();
    loop {
        let asked = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match asked {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && started.elapsed() < wait => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "SQLite gives no signal, and databases have own threads"
                )]
                std::thread::sleep(PAUSE);
            }
            asked => return asked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_another_connection_writes_is_switched_once_it_is_let_go() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("some.db");
        let other = Connection::open(&path).expect("other");
        other.execute_batch("CREATE TABLE t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").expect("a write begins");
        let connection = Connection::open(&path).expect("connection");
        let busy = switch_to_wal(&connection, Duration::ZERO).expect_err("held");
        assert_eq!(busy.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
        let (asking, asked) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            asking.send(()).expect("test");
            switch_to_wal(&connection, Duration::from_secs(60))
        });
        asked.recv().expect("the other thread asks");
        other.execute_batch("COMMIT").expect("let go");
        assert_eq!(waiting.join().expect("no panic").expect("switched"), "wal");
    }
}
