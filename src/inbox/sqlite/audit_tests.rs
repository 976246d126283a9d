//! An audit finds what another hand has changed in the file: the inbox's own writes cannot.

use std::time::Duration;

use rusqlite::Connection;

use super::SqliteInbox;
use super::tests::{fresh_sqlite, settings};
use crate::clock::ManualClock;
use crate::inbox::conformance::{Subject, account, bad, done};
use crate::inbox::ledger::{Audited, Finding, Retention};
use crate::notice::NoticeId;

const DAY: Duration = Duration::from_secs(86_400);

async fn with_two_notices() -> (Subject, Connection) {
    let (inbox, folder, clock): (SqliteInbox, _, ManualClock) = fresh_sqlite();
    let path = settings(folder.path()).path;
    let inbox = std::sync::Arc::new(inbox);
    let subject = Subject {
        inbox: inbox.clone(),
        ledger: inbox.clone(),
        quarantine: inbox.clone(),
        audit: inbox,
        clock,
        _keep: Box::new(folder),
    };
    for key in ["a", "b"] {
        subject.ready(key, "T", 0).await;
        let claim = subject.must_claim().await;
        subject.inbox.finish(claim.key, done(account(5, 2)), vec![bad(3), bad(4)].into()).await.unwrap();
    }
    let other = Connection::open(path).unwrap();
    other.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF").unwrap();
    (subject, other)
}

#[tokio::test]
async fn every_kind_of_damage_is_found_and_named() {
    for (damage, expected) in [
        ("UPDATE deliveries SET delivered = 4 WHERE id = 2", "7 records read are not 4 delivered"),
        ("DELETE FROM bad_records WHERE delivery = 2 AND number = 3", "2 records are quarantined, and 1 are kept"),
        (
            "UPDATE bad_records SET discarded = 1 WHERE delivery = 2 AND number = 3",
            "0 records are counted as discarded",
        ),
        ("UPDATE notices SET withheld = 0 WHERE id = 2", "it withholds 0 records, and its deliveries have 2"),
        (
            "UPDATE notices SET state = 'open', ended = NULL WHERE id = 2",
            "it is open, and its deliveries make it finished",
        ),
        ("UPDATE deliveries SET run = 9 WHERE id = 2", "it belongs to run 9, which does not exist"),
        ("UPDATE deliveries SET state = 'ready', ended = NULL WHERE id = 2", "its deliveries make it open"),
        ("DELETE FROM deliveries WHERE id = 2", "its deliveries make it skipped"),
    ] {
        let (subject, other) = with_two_notices().await;
        assert_eq!(subject.findings().await, []);
        other.execute_batch(damage).unwrap();
        let found = subject.findings().await;
        assert!(found.iter().all(|finding: &Finding| finding.notice == NoticeId(2)), "{damage}: {found:?}");
        assert!(found.iter().any(|finding| finding.what.contains(expected)), "{damage}: {found:?}");
    }
}

#[tokio::test]
async fn an_audit_adds_up_the_accounts_and_its_result_is_remembered() {
    let (subject, _) = with_two_notices().await;
    let step = subject.audit.audit(None, 10).await.unwrap();
    assert_eq!((step.notices, step.deliveries, step.accounts.len()), (2, 2, 1));
    let counts = step.accounts[0].counts;
    assert_eq!((counts.read, counts.delivered, counts.quarantined), (14, 10, 4));
    assert_eq!(subject.ledger.summary().await.unwrap().audit, None);
    let audited = Audited { at: subject.now(), notices: 2, deliveries: 2, findings: 0 };
    subject.audit.remember(audited).await.unwrap();
    let later = Audited { findings: 3, ..audited };
    subject.audit.remember(later).await.unwrap();
    assert_eq!(subject.ledger.summary().await.unwrap().audit, Some(later), "the latest one");
}

#[tokio::test]
async fn keys_and_notices_that_do_not_belong_together_are_found() {
    for (damage, expected) in [
        ("DELETE FROM keys WHERE notice = 1", "notice 1 is not known by its key"),
        ("UPDATE keys SET notice = 9 WHERE notice = 2", "the key b of feed eg belongs to notice 9"),
        ("UPDATE notices SET dedupe_key = 'a' WHERE id = 2", "notice 2 is not known by its key"),
    ] {
        let (subject, other) = with_two_notices().await;
        subject.ledger.prune(Retention { age: DAY, bytes: None, keys: DAY }).await.unwrap();
        assert_eq!(subject.audit.examine().await.unwrap().damage, Vec::<String>::new());
        other.execute_batch(damage).unwrap();
        let found = subject.audit.examine().await.unwrap().damage;
        assert!(found.iter().any(|what| what.contains(expected)), "{damage}: {found:?}");
    }
}
