//! Counts, and what becomes of a notice.

use std::time::Duration;

use super::{Subject, account, bad, done, heard, target};
use crate::inbox::{InboxError, Progress, Remarks};
use crate::record::Counts;

fn unbalanced() -> Progress {
    Progress { counts: Counts { read: 10, delivered: 8, quarantined: 1, ..Counts::default() }, ..account(10, 0) }
}

pub(crate) async fn an_account_that_does_not_add_up_is_refused(subject: Subject) {
    subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    for result in [
        subject.inbox.finish(claim.key, done(unbalanced()), Remarks::default()).await,
        subject.inbox.progress(claim.key, unbalanced(), Remarks::default()).await,
    ] {
        assert!(matches!(result, Err(InboxError::Unbalanced { delivery, .. }) if delivery == claim.key.delivery));
    }
    let overflow = Counts { read: 0, delivered: u64::MAX, filtered: 1, ..Counts::default() };
    let progress = Progress { counts: overflow, ..Progress::default() };
    let result = subject.inbox.finish(claim.key, done(progress), Remarks::default()).await;
    assert!(matches!(result, Err(InboxError::Unbalanced { .. })));
}

pub(crate) async fn a_refused_account_leaves_the_claim_as_it_was(subject: Subject) {
    subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    subject.inbox.progress(claim.key, account(4, 1), vec![bad(2)].into()).await.unwrap();
    assert!(subject.inbox.finish(claim.key, done(unbalanced()), vec![bad(3)].into()).await.is_err());
    subject.finish(&claim, subject.retry(Duration::ZERO)).await;
    assert_eq!(subject.must_claim().await.progress, account(4, 1));
}

pub(crate) async fn done_on_all_routes_ends_the_work(subject: Subject) {
    let notice = subject.store(heard("k", "T", 0)).await;
    subject.plan(notice, vec![target("r", "s"), target("r", "t")]).await;
    let first = subject.must_claim().await;
    let second = subject.must_claim().await;
    let mixed = Counts { read: 10, delivered: 4, filtered: 3, parked: 2, quarantined: 1 };
    subject.finish(&first, done(Progress { confirmed: 10, counts: mixed, known: 0, bytes: 99 })).await;
    assert!(subject.nothing().await.1);
    subject.finish(&second, done(account(0, 0))).await;
    assert_eq!(subject.nothing().await, (None, false));
}

pub(crate) async fn bad_records_of_a_repeated_attempt_are_not_doubled(subject: Subject) {
    subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    subject.inbox.progress(claim.key, account(4, 1), vec![bad(2)].into()).await.unwrap();
    subject.inbox.finish(claim.key, subject.retry(Duration::ZERO), vec![bad(6)].into()).await.unwrap();
    let again = subject.must_claim().await;
    subject.inbox.finish(again.key, done(account(6, 2)), vec![bad(2), bad(6)].into()).await.unwrap();
    assert_eq!(subject.nothing().await, (None, false));
}
