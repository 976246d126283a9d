//! Claims and leases.

use std::collections::HashSet;
use std::time::Duration;

use super::{LEASE, Subject, account, done, heard, target};
use crate::error::Class;
use crate::inbox::{ClaimKey, Claimed, Finish, InboxError, Ordering, Remarks};

pub(crate) async fn a_delivery_is_claimed_once(subject: Subject) {
    let notice = subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    assert_eq!((claim.notice.id, claim.attempt, claim.lost), (notice, 1, 0));
    assert!(subject.claim().await.is_none());
}

pub(crate) async fn two_claimers_in_a_race_never_hold_the_same_delivery(subject: Subject) {
    const DELIVERIES: usize = 60;
    for n in 0..DELIVERIES {
        subject.ready(&format!("k{n}"), &format!("T{}", n % 7), 0).await;
    }
    let claimers = (0..8).map(|_| {
        let inbox = subject.shared();
        let request = subject.request(Ordering::None, 1000);
        tokio::spawn(async move {
            let mut got = Vec::new();
            while let Claimed::Delivery(claim) = inbox.claim(request.clone()).await.unwrap() {
                got.push(claim.key.delivery);
            }
            got
        })
    });
    let got: Vec<_> = futures::future::join_all(claimers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(got.len(), DELIVERIES);
    assert_eq!(got.iter().collect::<HashSet<_>>().len(), DELIVERIES);
}

async fn assert_lost(subject: &Subject, key: ClaimKey) {
    let until = subject.now().plus(LEASE);
    let lost = |result: Result<(), InboxError>| {
        assert!(matches!(result, Err(InboxError::LeaseLost(named)) if named == key), "{result:?}");
    };
    lost(subject.inbox.renew(key, until).await);
    lost(subject.inbox.progress(key, account(3, 0), Remarks::default()).await);
    for finish in [done(account(5, 0)), subject.retry(LEASE), subject.quarantine(), Finish::Release] {
        lost(subject.inbox.finish(key, finish, Remarks::default()).await);
    }
}

pub(crate) async fn a_lease_that_ran_out_is_taken_over_and_its_old_holder_writes_nothing(subject: Subject) {
    subject.ready("k", "T", 0).await;
    for ordering in [Ordering::BlobType, Ordering::None] {
        let old = subject.claim_with(subject.request(ordering, 1)).await.unwrap();
        subject.clock.advance(LEASE - Duration::from_millis(1));
        assert!(subject.claim_with(subject.request(ordering, 1)).await.is_none());
        subject.clock.advance(Duration::from_millis(1));
        let new = subject.claim_with(subject.request(ordering, 1)).await.unwrap();
        assert_eq!(new.key.delivery, old.key.delivery);
        assert!(new.key.claim > old.key.claim);
        assert_eq!((new.attempt, new.lost), (1, old.lost + 1), "a lost lease is counted and uses up no attempt");
        assert_lost(&subject, old.key).await;
        assert_eq!(new.progress, account(0, 0));
        subject.inbox.renew(new.key, subject.now().plus(LEASE)).await.unwrap();
        subject.finish(&new, Finish::Release).await;
    }
    let last = subject.must_claim().await;
    assert_eq!(last.progress, account(0, 0));
    subject.finish(&last, done(account(1, 0))).await;
    assert_eq!(subject.nothing().await, (None, false));
}

pub(crate) async fn a_renewed_lease_is_not_taken_over(subject: Subject) {
    subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    subject.clock.advance(LEASE / 2);
    subject.inbox.renew(claim.key, subject.now().plus(LEASE)).await.unwrap();
    subject.clock.advance(LEASE / 2 + Duration::from_secs(1));
    assert!(subject.claim().await.is_none());
    subject.finish(&claim, done(account(1, 0))).await;
}

pub(crate) async fn a_claim_that_ended_cannot_be_written_to(subject: Subject) {
    subject.ready("a", "A", 0).await;
    subject.ready("b", "B", 0).await;
    subject.ready("c", "C", 0).await;
    let (one, two, three) = (subject.must_claim().await, subject.must_claim().await, subject.must_claim().await);
    subject.finish(&one, done(account(1, 0))).await;
    subject.finish(&two, subject.quarantine()).await;
    subject.finish(&three, subject.retry(Duration::ZERO)).await;
    for claim in [one, two, three] {
        assert_lost(&subject, claim.key).await;
    }
    assert_eq!(subject.must_claim().await.attempt, 2);
}

pub(crate) async fn a_retry_waits_until_it_is_due(subject: Subject) {
    subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    let due = subject.now().plus(Duration::from_secs(5));
    subject.finish(&claim, subject.retry(Duration::from_secs(5))).await;
    assert_eq!(subject.nothing().await, (Some(due), true));
    subject.clock.advance(due.since(subject.now()));
    assert_eq!(subject.must_claim().await.since, claim.since, "the budget counts from the first moment");
}

pub(crate) async fn attempts_count_only_those_that_were_used_up(subject: Subject) {
    subject.ready("k", "T", 0).await;
    for (uses_attempt, expected) in [(true, 1), (false, 2), (false, 2), (true, 2), (true, 3)] {
        let claim = subject.must_claim().await;
        assert_eq!(claim.attempt, expected);
        let (class, error) = (Class::Unauthorized, "401".to_owned());
        subject
            .finish(&claim, Finish::Retry { due: subject.now(), class, error, uses_attempt, has_progressed: false })
            .await;
    }
    assert_eq!(subject.must_claim().await.attempt, 4);
}

pub(crate) async fn progress_lets_the_attempts_count_anew(subject: Subject) {
    subject.ready("k", "T", 0).await;
    for (has_progressed, expected) in [(false, 1), (false, 2), (true, 3), (false, 2), (false, 3)] {
        let claim = subject.must_claim().await;
        assert_eq!(claim.attempt, expected);
        let (class, error) = (Class::Transient, "reset".to_owned());
        let due = subject.now();
        subject.finish(&claim, Finish::Retry { due, class, error, uses_attempt: true, has_progressed }).await;
    }
    subject.must_claim().await;
    subject.clock.advance(LEASE);
    let claim = subject.must_claim().await;
    assert_eq!((claim.attempt, claim.lost), (4, 1));
    let (class, error) = (Class::Transient, "reset".to_owned());
    let due = subject.now();
    subject.finish(&claim, Finish::Retry { due, class, error, uses_attempt: true, has_progressed: true }).await;
    let claim = subject.must_claim().await;
    assert_eq!((claim.attempt, claim.lost), (2, 0));
}

pub(crate) async fn a_released_delivery_is_ready_at_once(subject: Subject) {
    subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    subject.inbox.progress(claim.key, account(4, 0), Remarks::default()).await.unwrap();
    subject.finish(&claim, Finish::Release).await;
    let again = subject.must_claim().await;
    assert_eq!((again.attempt, again.progress.confirmed), (1, 4));
}

pub(crate) async fn progress_is_there_for_the_next_attempt(subject: Subject) {
    subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    assert_eq!(claim.progress, account(0, 0));
    subject.inbox.progress(claim.key, account(10, 2), Remarks::default()).await.unwrap();
    subject.inbox.progress(claim.key, account(20, 3), Remarks::default()).await.unwrap();
    subject.finish(&claim, subject.retry(Duration::ZERO)).await;
    assert_eq!(subject.must_claim().await.progress, account(20, 3));
}

pub(crate) async fn a_quarantined_delivery_is_not_given_out_again(subject: Subject) {
    subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    subject.finish(&claim, subject.quarantine()).await;
    subject.clock.advance(LEASE * 1000);
    assert_eq!(subject.nothing().await, (None, false));
}

pub(crate) async fn nothing_says_when_to_ask_again(subject: Subject) {
    assert_eq!(subject.nothing().await, (None, false));
    subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    let until = subject.now().plus(LEASE);
    assert_eq!(subject.nothing().await, (Some(until), true), "a claim may be lost with its lease");
    subject.ready("other", "U", 0).await;
    let other = subject.must_claim().await;
    subject.finish(&other, subject.retry(LEASE / 2)).await;
    assert_eq!(subject.nothing().await, (Some(subject.now().plus(LEASE / 2)), true));
    subject.finish(&claim, done(account(0, 0))).await;
    subject.store(heard("third", "T", 0)).await;
    assert!(subject.nothing().await.1);
}

pub(crate) async fn a_freed_lane_wakes_whoever_waits(subject: Subject) {
    subject.ready("a", "T", 0).await;
    let second = subject.store(heard("b", "T", 1)).await;
    subject.plan(second, vec![target("r", "s")]).await;
    let claim = subject.must_claim().await;
    assert!(subject.claim().await.is_none());
    subject.inbox.changed().await;
    let inbox = subject.shared();
    let waiting = tokio::spawn(async move { inbox.changed().await });
    subject.finish(&claim, done(account(1, 0))).await;
    waiting.await.unwrap();
    assert_eq!(subject.must_claim().await.notice.id, second);
}
