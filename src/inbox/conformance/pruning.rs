//! Forgetting.

use std::time::Duration;

use super::{Subject, account, done, heard};
use crate::inbox::ledger::{NoticeState, Retention, Selector};
use crate::notice::{NoticeId, Verdict};

const AGE: Duration = Duration::from_secs(3600);
const BY_AGE: Retention = Retention { age: AGE, bytes: None, keys: AGE };

async fn ids(subject: &Subject) -> Vec<NoticeId> {
    let mut ids: Vec<_> =
        subject.ledger.notices(Selector::default()).await.unwrap().iter().map(|line| line.id).collect();
    ids.reverse();
    ids
}

pub(crate) async fn what_is_finished_or_skipped_is_pruned_by_age(subject: Subject) {
    let mut skipped = heard("skipped", "T", 0);
    skipped.verdict = Verdict::Skipped("excluded".to_owned());
    subject.store(skipped).await;
    let old = subject.ready("old", "T", 0).await;
    subject.work_off(done(account(1, 0))).await;
    subject.clock.advance(AGE);
    assert_eq!(subject.ledger.prune(BY_AGE).await.unwrap().notices, 0, "not a moment too early");
    let young = subject.ready("young", "T", 0).await;
    subject.work_off(done(account(1, 0))).await;
    subject.clock.advance(Duration::from_millis(1));
    assert_eq!(subject.ledger.prune(BY_AGE).await.unwrap().notices, 2);
    assert_eq!(ids(&subject).await, [young]);
    assert!(subject.ledger.story(old).await.unwrap().is_none());
    let again = subject.inbox.store(vec![heard("old", "T", 0)]).await.unwrap();
    assert!(!again[0].is_duplicate(), "what is forgotten is new when it comes again");
}

pub(crate) async fn what_is_unfinished_or_quarantined_is_never_pruned(subject: Subject) {
    let mut unreadable = heard("unreadable", "", 0);
    unreadable.verdict = Verdict::Unreadable("not JSON".to_owned());
    let mut kept = vec![subject.store(unreadable).await];
    kept.push(subject.ready("quarantined", "A", 0).await);
    subject.work_off(subject.quarantine()).await;
    kept.push(subject.ready("waiting", "B", 0).await);
    subject.work_off(subject.retry(Duration::from_secs(5))).await;
    kept.push(subject.ready("claimed", "C", 0).await);
    let claim = subject.must_claim().await;
    kept.push(subject.ready("ready", "D", 0).await);
    kept.push(subject.store(heard("heard", "E", 0)).await);
    subject.clock.advance(AGE * 1000);
    let pruned = subject.ledger.prune(Retention { age: AGE, bytes: Some(1), keys: AGE }).await.unwrap();
    assert_eq!((pruned.notices, pruned.still_too_large), (0, true));
    assert_eq!(ids(&subject).await, kept);
    subject.finish(&claim, done(account(1, 0))).await;
}

pub(crate) async fn a_finished_notice_with_withheld_records_is_kept_until_it_is_replayed(subject: Subject) {
    let notice = subject.ready("k", "T", 0).await;
    subject.work_off(done(account(5, 1))).await;
    assert_eq!(subject.state(notice).await, NoticeState::Finished);
    subject.clock.advance(AGE * 2);
    assert_eq!(
        subject.ledger.prune(BY_AGE).await.unwrap().notices,
        0,
        "a quarantined record is never dropped silently"
    );
    subject.replay(Selector::default(), &[]).await;
    subject.plan_all().await;
    subject.work_off(done(account(6, 0))).await;
    subject.clock.advance(AGE * 2);
    assert_eq!(subject.ledger.prune(BY_AGE).await.unwrap().notices, 1);
}

pub(crate) async fn the_oldest_go_first_when_the_inbox_is_too_large(subject: Subject) {
    const NOTICES: i64 = 600;
    let batch: Vec<_> = (0..NOTICES)
        .map(|n| {
            let mut notice = heard(&format!("k{n}"), "T", n);
            notice.verdict = Verdict::Skipped("excluded".to_owned());
            notice.body = Some(bytes::Bytes::from(vec![b'x'; 20_000]));
            notice
        })
        .collect();
    for part in batch.chunks(100) {
        subject.inbox.store(part.to_vec()).await.unwrap();
        subject.clock.advance(Duration::from_secs(1));
    }
    let before = subject.ledger.summary().await.unwrap();
    let bytes_max = before.database_bytes / 2;
    let pruned = subject.ledger.prune(Retention { age: AGE, bytes: Some(bytes_max), keys: AGE }).await.unwrap();
    assert!(pruned.notices > 0 && !pruned.still_too_large, "{pruned:?}");
    let kept = ids(&subject).await;
    assert_eq!(kept.last(), Some(&NoticeId(NOTICES)), "the newest stay");
    assert_eq!(kept.len() as u64 + pruned.notices, NOTICES as u64);
    let after = subject.ledger.summary().await.unwrap();
    assert!(after.database_bytes - after.free_bytes <= bytes_max);
    assert!(pruned.bytes > 0 && after.database_bytes < before.database_bytes, "the file shrinks");
}

pub(crate) async fn a_key_outlives_a_notice_that_made_room(subject: Subject) {
    // To make room, all that can go goes.
    let room = Retention { age: AGE, bytes: Some(1), keys: AGE };
    let first = subject.ready("a", "T", 0).await;
    subject.work_off(done(account(1, 0))).await;
    assert_eq!(subject.ledger.prune(room).await.unwrap().notices, 1);
    let known = async || subject.ledger.summary().await.unwrap().outlived_keys;
    assert_eq!((known().await, ids(&subject).await), (1, Vec::new()));
    let again = async |key: &str| {
        let receipts = subject.inbox.store(vec![heard("b", "T", 0), heard(key, "T", 0)]).await.unwrap();
        (receipts[1].is_duplicate(), receipts[1].notice())
    };
    assert_eq!(again("a").await, (true, first), "it comes again, and is known");
    assert_eq!(ids(&subject).await.len(), 1, "the other is new");
    let mut elsewhere = heard("a", "T", 0);
    elsewhere.feed = crate::notice::FeedName::new("another");
    assert!(!subject.inbox.store(vec![elsewhere]).await.unwrap()[0].is_duplicate(), "another feed's key is another");
    // Its time counts from the last arrival.
    subject.clock.advance(AGE / 2);
    assert!(again("a").await.0);
    subject.clock.advance(AGE - Duration::from_millis(1));
    subject.ledger.prune(room).await.unwrap();
    assert_eq!(known().await, 1, "not a moment too early");
    subject.clock.advance(Duration::from_millis(1));
    subject.ledger.prune(room).await.unwrap();
    assert_eq!(known().await, 0, "size does not keep it, and age ends it");
    assert!(!again("a").await.0);
}

pub(crate) async fn a_number_is_not_given_again_after_pruning(subject: Subject) {
    let first = subject.ready("a", "T", 0).await;
    subject.work_off(done(account(1, 0))).await;
    subject.clock.advance(AGE * 2);
    assert_eq!(subject.ledger.prune(BY_AGE).await.unwrap().notices, 1);
    assert!(subject.store(heard("b", "T", 0)).await > first);
}
