//! An inbox that another process holds, that is damaged, or that a newer Longshore has written.

use std::os::unix::fs::FileExt as _;

use rusqlite::Connection;

use crate::common::wait::until;
use crate::tools::Watched;

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_is_locked_for_long_is_waited_for_and_said() {
    let mut watched = Watched::new(None, "").await;
    watched.world.publish(1, 20).await;
    let daemon = watched.world.start(&["run"]);
    watched.world.wait_finished(1).await;
    let other = Connection::open(watched.world.folder().join("inbox.db")).expect("the inbox");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    watched.world.publish(2, 20).await;
    watched.wait_degraded(&daemon, "database is locked").await;
    other.execute_batch("ROLLBACK").expect("let go");
    watched.world.wait_finished(3).await;
    watched.wait_good(&daemon).await;
    let log = daemon.stop().await;
    assert!(log.contains("database is locked"), "{log}");
    watched.world.assert_each_record_once();
}

/// An inbox with finished notices, closed.
async fn closed_inbox() -> Watched {
    let mut watched = Watched::new(None, "").await;
    watched.world.publish(30, 5).await;
    let daemon = watched.world.start(&["run"]);
    watched.world.wait_finished(30).await;
    watched.wait_settled(30).await;
    daemon.stop().await;
    // All of it is in the file itself, and nothing in its log.
    let connection = Connection::open(watched.world.folder().join("inbox.db")).expect("the inbox");
    let is_busy = || connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    until("the log is moved", || matches!(is_busy(), Ok(false))).await;
    drop(connection);
    watched
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_is_named_with_what_to_do_and_nothing_panics() {
    let mut watched = closed_inbox().await;
    let path = watched.world.folder().join("inbox.db");
    let root: i64 = {
        let connection = Connection::open(&path).expect("the inbox");
        connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'notices'", [], |row| row.get(0))
            .expect("its root page")
    };
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
    file.write_all_at(&[0xa5; 4096], (root as u64 - 1) * 4096).expect("overwritten");

    for command in [&["notices"][..], &["audit"], &["show", "1"]] {
        let (status, said) = watched.world.try_say(command).await;
        assert_eq!(status.code(), Some(74), "{command:?}: {said}");
        assert!(said.contains("damaged") && said.contains(".recover"), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{command:?}: {said}");
    }
    watched.world.publish(1, 5).await;
    let daemon = watched.world.start(&["run"]);
    watched.wait_degraded(&daemon, "the file is damaged").await;
    let state = format!("{:?}", watched.world.sandbox.state().broker);
    assert!(state.contains("completed: 30"), "nothing is settled that is not stored: {state}");
    let log = daemon.stop().await;
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_any_more_is_refused() {
    let watched = closed_inbox().await;
    let path = watched.world.folder().join("inbox.db");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the file");
    file.write_all_at(&[0xa5; 100], 0).expect("overwritten");
    let (status, said) = watched.world.start(&["run"]).end().await;
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains("not an SQLite database") && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_of_a_newer_schema_is_refused_and_left_as_it_is() {
    let watched = closed_inbox().await;
    let path = watched.world.folder().join("inbox.db");
    let connection = Connection::open(&path).expect("the inbox");
    connection.pragma_update(None, "user_version", 9_999).expect("a newer version");
    drop(connection);
    let before = std::fs::read(&path).expect("the file");
    for command in [&["run"][..], &["work", "--until-empty"], &["status"]] {
        let (status, said) = watched.world.start(command).end().await;
        assert_eq!(status.code(), Some(74), "{said}");
        assert!(said.contains("schema version 9999") && said.contains("install the newer version"), "{said}");
    }
    assert!(std::fs::read(&path).expect("the file") == before, "nothing is written to it");
}
