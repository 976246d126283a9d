//! What happens when something fails: a job, a commit, the disk, a lock, a caller.

use std::sync::mpsc;
use std::time::Duration;

use rusqlite::Connection;

use super::fault::Fault;
use super::tests::{fresh_sqlite, settings};
use super::writer::{DURABLE, Outcome};
use super::{SqliteInbox, claim};
use crate::inbox::conformance::{START, heard, target};
use crate::inbox::ledger::{Ledger, Selector};
use crate::inbox::{ClaimRequest, Claimed, Inbox, InboxError, OnPoison, Ordering, Plan};

async fn on_writer(
    inbox: &SqliteInbox,
    run: impl FnOnce(&Connection) -> Result<(), Fault> + Send + 'static,
) -> Result<(), InboxError> {
    inbox.writer.run(DURABLE, move |connection| run(connection).map(Outcome::quiet)).await
}

/// Keeps the writer busy until told; what is asked meanwhile goes into one group.
async fn blocked(inbox: &SqliteInbox) -> (impl Future<Output = ()>, mpsc::Sender<()>) {
    let (entered, is_in) = tokio::sync::oneshot::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    let mut blocking = Box::pin(on_writer(inbox, move |_| {
        entered.send(()).unwrap();
        may_leave.recv_timeout(Duration::from_secs(120)).unwrap();
        Ok(())
    }));
    tokio::select! {
        _ = &mut blocking => unreachable!("it waits"),
        entered = is_in => entered.unwrap(),
    }
    (async move { blocking.await.unwrap() }, leave)
}

async fn keys(inbox: &SqliteInbox) -> usize {
    inbox.notices(Selector::default()).await.unwrap().len()
}

#[tokio::test]
async fn a_job_that_fails_takes_nothing_else_of_its_group_with_it() {
    let (inbox, _folder, _) = fresh_sqlite();
    let (blocking, leave) = blocked(&inbox).await;
    let bad = on_writer(&inbox, |connection| {
        connection.execute("INSERT INTO runs (started, selector) VALUES (1, 'half')", [])?;
        connection.execute("INSERT INTO runs (started, selector) VALUES (NULL, NULL)", [])?;
        Ok(())
    });
    let release = async { leave.send(()).unwrap() };
    let (first, bad, second, (), ()) = tokio::join!(
        inbox.store(vec![heard("a", "T", 0)]),
        bad,
        inbox.store(vec![heard("b", "T", 0)]),
        release,
        blocking
    );
    assert!(first.is_ok() && second.is_ok());
    assert!(matches!(bad, Err(InboxError::Unusable { .. })));
    assert_eq!(keys(&inbox).await, 2);
    on_writer(&inbox, |connection| {
        let runs: i64 = connection.query_row("SELECT count(*) FROM runs", [], |row| row.get(0))?;
        assert_eq!(runs, 0, "what the failed job had written is gone");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_job_that_fails_alone_leaves_nothing_behind() {
    let (inbox, _folder, _) = fresh_sqlite();
    let bad = on_writer(&inbox, |connection| {
        connection.execute("INSERT INTO runs (started, selector) VALUES (1, 'half')", [])?;
        connection.execute("INSERT INTO runs (started, selector) VALUES (NULL, NULL)", [])?;
        Ok(())
    });
    assert!(bad.await.is_err());
    let look = on_writer(&inbox, |connection| {
        let runs: i64 = connection.query_row("SELECT count(*) FROM runs", [], |row| row.get(0))?;
        assert_eq!(runs, 0);
        Ok(())
    });
    look.await.unwrap();
    inbox.store(vec![heard("a", "T", 0)]).await.unwrap();
}

#[tokio::test]
async fn a_job_that_fails_first_takes_nothing_else_of_its_group_with_it() {
    let (inbox, _folder, _) = fresh_sqlite();
    let (blocking, leave) = blocked(&inbox).await;
    let bad = || {
        on_writer(&inbox, |connection| {
            connection.execute("INSERT INTO runs (started, selector) VALUES (1, 'half')", [])?;
            connection.execute("INSERT INTO runs (started, selector) VALUES (NULL, NULL)", [])?;
            Ok(())
        })
    };
    let release = async { leave.send(()).unwrap() };
    let (one, other, stored, release, blocking) =
        futures::join!(bad(), bad(), inbox.store(vec![heard("a", "T", 0)]), release, blocking);
    let ((), ()) = (release, blocking);
    assert!(one.is_err() && other.is_err());
    assert!(!stored.unwrap()[0].is_duplicate());
    assert_eq!(keys(&inbox).await, 1);
    on_writer(&inbox, |connection| {
        let runs: i64 = connection.query_row("SELECT count(*) FROM runs", [], |row| row.get(0))?;
        assert_eq!(runs, 0, "what the failed jobs had written is gone");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn nobody_is_answered_when_the_commit_fails() {
    let (inbox, _folder, _) = fresh_sqlite();
    let (blocking, leave) = blocked(&inbox).await;
    // A foreign key that is checked at the commit only.
    let poison = on_writer(&inbox, |connection| {
        connection.execute_batch(
            "PRAGMA defer_foreign_keys = ON;
             INSERT INTO components (instance, name, condition, note, since) VALUES ('nobody', 'x', 'good', '', 0);",
        )?;
        Ok(())
    });
    let release = async { leave.send(()).unwrap() };
    let (stored, poison, (), ()) = tokio::join!(inbox.store(vec![heard("a", "T", 0)]), poison, release, blocking);
    assert!(stored.is_err() && poison.is_err());
    assert_eq!(keys(&inbox).await, 0);
    assert!(!inbox.store(vec![heard("a", "T", 0)]).await.unwrap()[0].is_duplicate(), "and it goes on afterwards");
}

#[tokio::test]
async fn a_full_disk_is_named_and_passes() {
    let (inbox, _folder, _) = fresh_sqlite();
    let limit = |pages: i64| {
        on_writer(&inbox, move |connection| {
            // Never below what there is; answers with the limit in force.
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            Ok(())
        })
    };
    limit(1).await.unwrap();
    let batch: Vec<_> = (0..100)
        .map(|n| {
            let mut notice = heard(&n.to_string(), "T", n);
            notice.body = Some(bytes::Bytes::from(vec![0; 4000]));
            notice
        })
        .collect();
    let error = inbox.store(batch.clone()).await.unwrap_err();
    assert!(matches!(error, InboxError::DiskFull { .. }), "{error}");
    assert_eq!(keys(&inbox).await, 0, "nothing of the batch is there");
    limit(1 << 30).await.unwrap();
    assert_eq!(inbox.store(batch).await.unwrap().len(), 100);
}

#[tokio::test]
async fn a_lock_held_by_another_process_is_named_and_passes() {
    let (inbox, folder, _) = fresh_sqlite();
    on_writer(&inbox, |connection| Ok(connection.busy_timeout(Duration::from_millis(20))?)).await.unwrap();
    let other = Connection::open(settings(folder.path()).path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = inbox.store(vec![heard("a", "T", 0)]).await.unwrap_err();
    assert!(matches!(error, InboxError::Unavailable { .. }), "{error}");
    assert_eq!(keys(&inbox).await, 0, "and reading goes on meanwhile");
    other.execute_batch("COMMIT").unwrap();
    inbox.store(vec![heard("a", "T", 0)]).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_process() {
    let (inbox, folder, _) = fresh_sqlite();
    inbox.store(vec![heard("a", "T", 0)]).await.unwrap();
    // What a process that is killed here leaves behind: nothing was closed, and the log was not moved.
    let after = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), after.path().join(entry.file_name())).unwrap();
    }
    let clock = std::sync::Arc::new(crate::clock::ManualClock::new(START));
    let again = SqliteInbox::open(&settings(after.path()), clock).unwrap();
    assert!(again.store(vec![heard("a", "T", 0)]).await.unwrap()[0].is_duplicate());
}

fn request() -> ClaimRequest {
    ClaimRequest {
        worker: "w".to_owned(),
        lease: Duration::from_secs(60),
        now: START,
        ordering: Ordering::BlobType,
        on_poison: OnPoison::Quarantine,
        per_blob_type_max: 1,
    }
}

async fn one_ready(inbox: &SqliteInbox) {
    let notice = inbox.store(vec![heard("a", "T", 0)]).await.unwrap()[0].notice();
    let plan = Plan { notice, targets: vec![target("r", "s")], skip_reason: String::new() };
    inbox.plan(vec![plan]).await.unwrap();
}

#[tokio::test]
async fn a_claim_that_nobody_waits_for_is_not_made() {
    let (inbox, _folder, _) = fresh_sqlite();
    one_ready(&inbox).await;
    let (blocking, leave) = blocked(&inbox).await;
    let mut claiming = Box::pin(inbox.claim(request()));
    assert!(futures::poll!(&mut claiming).is_pending());
    drop(claiming);
    leave.send(()).unwrap();
    blocking.await;
    let Claimed::Delivery(claim) = inbox.claim(request()).await.unwrap() else { panic!("it is claimable") };
    assert_eq!(claim.key.claim, 1, "the first claim that was made");
}

#[tokio::test]
async fn a_claim_whose_worker_went_away_is_given_back_at_once() {
    let (inbox, _folder, _) = fresh_sqlite();
    one_ready(&inbox).await;
    // The caller goes away after its claim was made and before it was committed.
    let (made, is_made) = tokio::sync::oneshot::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    let claiming = inbox.writer.run_or_undo(
        DURABLE,
        move |connection| {
            let claimed = claim::claim(connection, &request())?;
            made.send(()).unwrap();
            may_leave.recv_timeout(Duration::from_secs(120)).unwrap();
            Ok(claimed)
        },
        Some(claim::give_back),
    );
    tokio::select! {
        _ = claiming => unreachable!("it waits"),
        made = is_made => made.unwrap(),
    }
    leave.send(()).unwrap();
    let Claimed::Delivery(claim) = inbox.claim(request()).await.unwrap() else { panic!("it is claimable") };
    assert_eq!((claim.key.claim, claim.attempt, claim.lost), (2, 1, 0));
}

#[tokio::test]
async fn a_panic_over_one_write_undoes_that_write_and_no_other() {
    let (inbox, _folder, _) = fresh_sqlite();
    let panics = on_writer(&inbox, |connection| {
        connection.execute("INSERT INTO runs (started, selector) VALUES (1, 'x')", [])?;
        assert!(connection.is_autocommit(), "told to panic, within the writer's transaction");
        Ok(())
    });
    let stores = inbox.store(vec![heard("a", "T", 0)]);
    let (panicked, stored) = futures::join!(panics, stores);
    assert!(matches!(panicked, Err(InboxError::Unusable { .. })), "{panicked:?}");
    assert!(!stored.unwrap()[0].is_duplicate());
    let runs = on_writer(&inbox, |connection| {
        assert_eq!(connection.query_row("SELECT count(*) FROM runs", [], |row| row.get::<_, i64>(0))?, 0);
        Ok(())
    });
    runs.await.unwrap();
}
