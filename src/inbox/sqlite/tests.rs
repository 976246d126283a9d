use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::clock::ManualClock;
use crate::inbox::conformance::{START, Subject, heard, inbox_conformance};
use crate::inbox::ledger::{DaemonReport, Ledger};
use crate::notice::EntityName;

inbox_conformance!(fresh);

pub(super) fn settings(folder: &Path) -> InboxSettings {
    InboxSettings {
        path: folder.join("inbox.db"),
        retention_age: Duration::from_secs(3600),
        retention_bytes: None,
        dedupe_age: Duration::from_secs(3600),
        commit_notices_max: 1000,
        parking: crate::inbox::ParkingBounds { rows_max: 3_200, bytes_max: 1 << 30 },
    }
}

pub(super) fn fresh_sqlite() -> (SqliteInbox, tempfile::TempDir, ManualClock) {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let inbox = SqliteInbox::open(&settings(folder.path()), Arc::new(clock.clone())).unwrap();
    (inbox, folder, clock)
}

async fn fresh() -> Subject {
    subject(fresh_sqlite())
}

/// Where keys wait hardly at all, so that the cases meet them before and after they are filed.
mod filed {
    use super::*;

    inbox_conformance!(fresh_filed);

    async fn fresh_filed() -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START);
        subject((open_filing(folder.path(), 2, &clock), folder, clock))
    }
}

/// One whose keys are filed after so many.
pub(super) fn open_filing(folder: &Path, keys_waiting_max: usize, clock: &ManualClock) -> SqliteInbox {
    SqliteInbox::open_on(&settings(folder), Arc::new(clock.clone()), keys_waiting_max, syncer::sync_log).unwrap()
}

fn subject((inbox, folder, clock): (SqliteInbox, tempfile::TempDir, ManualClock)) -> Subject {
    let inbox = Arc::new(inbox);
    Subject {
        inbox: inbox.clone(),
        ledger: inbox.clone(),
        quarantine: inbox.clone(),
        audit: inbox,
        clock,
        _keep: Box::new(folder),
    }
}

fn open(folder: &Path) -> Result<SqliteInbox, InboxError> {
    SqliteInbox::open(&settings(folder), Arc::new(ManualClock::new(START)))
}

#[tokio::test]
async fn what_is_stored_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).unwrap().store(vec![heard("a", "T", 0)]).await.unwrap();
    let again = open(folder.path()).unwrap();
    assert!(again.store(vec![heard("a", "T", 0)]).await.unwrap()[0].is_duplicate());
}

#[tokio::test]
async fn a_dropped_inbox_is_closed_and_has_stored_what_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = open(folder.path()).unwrap();
    // Asked for, and left before the answer.
    let mut store = Box::pin(inbox.store(vec![heard("a", "T", 0)]));
    assert!(futures::poll!(&mut store).is_pending());
    drop(store);
    drop(inbox);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["inbox.db"], "no log is left to be read again");
    assert!(open(folder.path()).unwrap().store(vec![heard("a", "T", 0)]).await.unwrap()[0].is_duplicate());
}

#[tokio::test]
async fn the_files_are_readable_by_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inbox.db");
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let inbox = open(folder.path()).unwrap();
    inbox.store(vec![heard("a", "T", 0)]).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        seen += 1;
    }
    assert_eq!(seen, 3, "database, log and its index");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let connection = rusqlite::Connection::open(folder.path().join("inbox.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, InboxError::NewerSchema { found: 99, known: 14, .. }), "{error}");
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("inbox.db")).unwrap();
    connection.execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(matches!(open(folder.path()).unwrap_err(), InboxError::Unusable { .. }));
    std::fs::write(folder.path().join("inbox.db"), [b'x'; 5000]).unwrap();
    assert!(matches!(open(folder.path()).unwrap_err(), InboxError::Unusable { .. }));
}

#[tokio::test]
async fn work_stored_by_another_process_is_heard_of() {
    let folder = tempfile::tempdir().unwrap();
    let (listening, working) = (open(folder.path()).unwrap(), Arc::new(open(folder.path()).unwrap()));
    listening.store(vec![heard("a", "T", 0)]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(120), working.changed()).await.unwrap();
    assert_eq!(working.unplanned(1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_anybody_takes_away_is_unknown_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = open(folder.path()).unwrap();
    let (sink, item) = (SinkName::new("s"), EntityName::new("item"));
    let keys: Vec<_> = (1..=9).map(|n: u8| EntityKey::of(&mut Vec::new(), "sku", [n.to_string().as_str()])).collect();
    inbox.entities_import(sink.clone(), item.clone(), keys.clone()).await.unwrap();
    let known = async || {
        let lookup = Lookup { entity: item.clone(), keys: keys.clone() };
        inbox.known(sink.clone(), vec![lookup]).await.unwrap().remove(0)
    };
    for (gone, key) in keys.iter().enumerate() {
        for round in ["from the index", "from memory"] {
            let expected: Vec<_> = (0..9).map(|at| at >= gone).collect();
            assert_eq!(known().await, expected, "{gone} are gone, {round}");
        }
        let other = rusqlite::Connection::open(folder.path().join("inbox.db")).unwrap();
        other.execute("DELETE FROM known_keys WHERE key = ?1", [key.0]).unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_set_between_two_runs_changes_no_wait() {
    let day = Duration::from_secs(24 * 3_600);
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let open = || SqliteInbox::open(&settings(folder.path()), Arc::new(clock.clone())).unwrap();
    let report = || DaemonReport {
        instance: "host/1".to_owned(),
        mode: "run".to_owned(),
        pid: 1,
        version: "1".to_owned(),
        started: START,
        parts: Vec::new(),
    };
    let first = open();
    first.report(report()).await.unwrap();
    drop(first);
    for jump_to in [START.plus(day), START.minus(day), START] {
        clock.set(jump_to);
        let again = open();
        assert_eq!(again.now(), START);
        again.report(report()).await.unwrap();
    }
    clock.reboot();
    clock.set(START.minus(day));
    assert_eq!(open().now(), START, "no start of the machine takes it back");
}
