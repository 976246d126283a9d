//! Missing parents: park, register, wake, and the account that follows.

use std::time::Duration;

use super::orphans::{counts, done, gone, item, items, key, orphan, rules};
use super::{Subject, heard, target};
use crate::inbox::ledger::ParkedSelector;
use crate::inbox::{DeliveryId, Fate, Forget, InboxError, Orphan, ParkRules, Progress, Reference, Remarks};
use crate::notice::FeedName;

pub(crate) async fn a_parked_record_is_woken_by_its_parent_and_the_account_follows(subject: Subject) {
    let child = subject.parked("c", 5, vec![orphan(1, &[7])]).await;
    subject.tend().await;
    assert_eq!(subject.nothing().await, (None, false), "parked records are no unfinished work");
    assert_eq!(subject.counts(child).await, counts(0, 0, 1, 0));
    subject.parents("p", &[7, 8]).await;
    assert!(subject.is_known(7).await && !subject.is_known(9).await);
    assert_eq!(subject.tend().await.woken, 1);
    let claim = subject.must_claim_woken(child, "{\"record\":1}\n").await;
    let first = subject.story(child).await;
    let notice = &claim.notice;
    assert_eq!((notice.published, notice.sequence), (first.published, first.sequence), "newer wins");
    assert_eq!((&notice.feed, &notice.metadata.blob_type), (&first.feed, &first.metadata.blob_type));
    assert_eq!(subject.counts(child).await, counts(0, 0, 1, 0), "not delivered yet");
    subject.finish(&claim, done(1, 0, 0)).await;
    assert_eq!(subject.counts(child).await, counts(1, 0, 0, 0));
    assert_eq!(subject.waiting().await, 0);
    let summary = subject.ledger.summary().await.unwrap();
    assert_eq!(summary.last_day.counts, counts(3, 0, 0, 0), "each record once: two parents and a child");
    assert_eq!(summary.notices.with_withheld_records, 0);
    assert_eq!(subject.story(claim.notice.id).await.woken_from, Some(child));
}

pub(crate) async fn a_parent_that_landed_meanwhile_makes_its_child_deliverable(subject: Subject) {
    subject.parents("p", &[7]).await;
    subject.ready("c", "Price", 0).await;
    let claim = subject.must_claim().await;
    let fates = subject.inbox.park(claim.key, rules(), vec![orphan(1, &[7]), orphan(2, &[7, 8])]).await.unwrap();
    assert_eq!(fates, [Fate::Deliverable, Fate::Parked]);
}

pub(crate) async fn a_parent_that_lands_between_the_decision_and_the_end_wakes_its_child(subject: Subject) {
    let child = subject.ready("c", "Price", 0).await;
    let claim = subject.must_claim().await;
    subject.inbox.park(claim.key, rules(), vec![orphan(1, &[7])]).await.unwrap();
    subject.parents("p", &[7]).await;
    assert_eq!(subject.tend().await.woken, 0, "a decision is not in force before the end of its delivery");
    subject.finish(&claim, done(0, 1, 0)).await;
    assert_eq!(subject.tend().await.woken, 1);
    subject.must_claim_woken(child, "{\"record\":1}\n").await;
}

pub(crate) async fn parent_and_child_at_the_same_moment_never_miss_each_other(subject: Subject) {
    for n in 0..20 {
        subject.ready(&format!("c{n}"), "Price", 0).await;
        let child = subject.must_claim().await;
        subject.ready(&format!("p{n}"), "Item", 0).await;
        let parent = subject.must_claim().await;
        let parked = async {
            let fates = subject.inbox.park(child.key, rules(), vec![orphan(1, &[n])]).await.unwrap();
            let is_parked = fates == [Fate::Parked];
            subject.finish(&child, if is_parked { done(0, 1, 0) } else { done(1, 0, 0) }).await;
            is_parked
        };
        let register = subject.inbox.finish(parent.key, done(1, 0, 0), items(&[n]));
        let (is_parked, registered, _) = tokio::join!(parked, register, subject.inbox.tend());
        registered.unwrap();
        subject.tend().await;
        assert_eq!(subject.waiting().await, 0, "round {n}");
        let woken = subject.claim().await;
        assert_eq!(woken.is_some(), is_parked);
        if let Some(woken) = woken {
            subject.finish(&woken, done(1, 0, 0)).await;
        }
    }
    assert_eq!(subject.ledger.summary().await.unwrap().last_day.counts, counts(40, 0, 0, 0));
}

pub(crate) async fn children_are_woken_in_published_order_and_bounded_pieces(subject: Subject) {
    let many = 2_500;
    let late = subject.parked("late", 20, (1..=many).map(|n| orphan(n, &[7])).collect()).await;
    let early = subject.parked("early", 10, vec![orphan(3, &[7]), orphan(1, &[7])]).await;
    subject.tend().await;
    assert_eq!(subject.waiting().await, many as usize + 2);
    subject.parents("p", &[7]).await;
    let step = subject.inbox.tend().await.unwrap();
    assert!(step.more && step.woken <= 1_000, "{step:?}");
    subject.tend().await;
    let mut woken = Vec::new();
    while let Some(claim) = subject.claim().await {
        let body = claim.notice.body.clone().unwrap();
        let lines = body.iter().filter(|byte| **byte == b'\n').count() as u64;
        woken.push((claim.woken.unwrap().origin, lines));
        subject.finish(&claim, done(lines, 0, 0)).await;
    }
    assert_eq!(woken[0], (early, 2));
    assert!(woken[1..].iter().all(|(origin, lines)| *origin == late && *lines <= 1_000));
    assert_eq!(subject.counts(late).await, counts(many, 0, 0, 0));
    assert_eq!(subject.counts(early).await, counts(2, 0, 0, 0));
}

pub(crate) async fn a_record_of_several_parents_waits_for_all_and_for_any_key_of_each(subject: Subject) {
    let mut two = orphan(1, &[7]);
    let keys = vec![key(20), key(21)];
    two.missing.push(Reference { entity: item(), keys });
    subject.parked("c", 0, vec![two]).await;
    subject.tend().await;
    subject.parents("p", &[7]).await;
    assert_eq!(subject.tend().await.woken, 0);
    subject.parents("q", &[21]).await;
    assert_eq!(subject.tend().await.woken, 1);
}

pub(crate) async fn a_parent_counts_for_the_sink_that_confirmed_it_alone(subject: Subject) {
    subject.parked("c", 0, vec![orphan(1, &[7])]).await;
    subject.tend().await;
    let notice = subject.store(heard("p", "Item", 0)).await;
    subject.plan(notice, vec![target("r", "other")]).await;
    let claim = subject.must_claim().await;
    subject.inbox.finish(claim.key, done(1, 0, 0), items(&[7])).await.unwrap();
    assert_eq!((subject.tend().await.woken, subject.is_known(7).await), (0, false));
}

pub(crate) async fn a_deleted_entity_is_not_known_any_more(subject: Subject) {
    subject.parents("p", &[7, 8]).await;
    // Whoever has asked before is not told what was true then.
    assert_eq!((subject.is_known(7).await, subject.is_known(8).await), (true, true));
    subject.ready("d", "Item", 0).await;
    let claim = subject.must_claim().await;
    subject.inbox.progress(claim.key, Progress::default(), gone(&[7])).await.unwrap();
    assert_eq!((subject.is_known(7).await, subject.is_known(8).await), (false, true));
    subject.inbox.progress(claim.key, Progress::default(), items(&[7])).await.unwrap();
    assert!(subject.is_known(7).await);
    subject.inbox.progress(claim.key, Progress::default(), gone(&[7])).await.unwrap();
    assert_eq!((subject.is_known(7).await, subject.is_known(8).await), (false, true));
    let entities = subject.ledger.entities().await.unwrap();
    assert_eq!(entities.iter().map(|one| one.keys).collect::<Vec<_>>(), [1]);
}

pub(crate) async fn a_lost_lease_parks_and_registers_nothing(subject: Subject) {
    subject.ready("c", "Price", 0).await;
    let claim = subject.must_claim().await;
    subject.clock.advance(super::LEASE);
    let again = subject.must_claim().await;
    let lost =
        |error: InboxError| assert!(matches!(error, InboxError::LeaseLost(lost) if lost == claim.key), "{error}");
    lost(subject.inbox.park(claim.key, rules(), vec![orphan(1, &[7])]).await.unwrap_err());
    lost(subject.inbox.progress(claim.key, Progress::default(), items(&[7])).await.unwrap_err());
    lost(subject.inbox.finish(claim.key, done(0, 1, 0), items(&[7])).await.unwrap_err());
    lost(subject.inbox.forget_attempts(claim.key, Forget::All).await.unwrap_err());
    subject.finish(&again, done(0, 0, 0)).await;
    subject.tend().await;
    assert_eq!((subject.waiting().await, subject.is_known(7).await), (0, false));
}

pub(crate) async fn the_next_attempt_finds_what_was_decided_also_when_the_parent_has_landed(subject: Subject) {
    let child = subject.ready("c", "Price", 0).await;
    let claim = subject.must_claim().await;
    assert!(!claim.has_leftovers);
    let refuse = ParkRules { parks: false, ..rules() };
    subject.inbox.park(claim.key, rules(), vec![orphan(2, &[7])]).await.unwrap();
    subject.inbox.park(claim.key, refuse, vec![orphan(4, &[7])]).await.unwrap();
    subject.parents("p", &[7]).await;
    subject.finish(&claim, subject.retry(Duration::ZERO)).await;
    let again = subject.must_claim().await;
    assert!(again.has_leftovers);
    let decided = async |first, last| subject.inbox.decided(again.key.delivery, first, last).await.unwrap();
    assert_eq!(decided(1, 9).await, [(2, Fate::Parked), (4, Fate::Refused)]);
    assert_eq!(decided(3, 3).await, []);
    while subject.inbox.forget_attempts(again.key, Forget::Staged).await.unwrap() {}
    let fates = subject.inbox.park(again.key, rules(), vec![orphan(2, &[7]), orphan(3, &[7])]).await.unwrap();
    assert_eq!(fates, [Fate::Parked, Fate::Deliverable]);
    let bad = super::bad(4);
    subject.inbox.finish(again.key, done(2, 1, 1), vec![bad].into()).await.unwrap();
    assert_eq!(subject.tend().await.woken, 1);
    let woken = subject.must_claim_woken(child, "{\"record\":2}\n").await;
    subject.finish(&woken, done(1, 0, 0)).await;
    assert_eq!(subject.counts(child).await, counts(3, 0, 0, 1));
}

pub(crate) async fn an_attempt_that_starts_over_forgets_what_was_decided(subject: Subject) {
    subject.ready("c", "Price", 0).await;
    let claim = subject.must_claim().await;
    subject.inbox.park(claim.key, rules(), vec![orphan(2, &[7])]).await.unwrap();
    while subject.inbox.forget_attempts(claim.key, Forget::All).await.unwrap() {}
    subject.finish(&claim, done(2, 0, 0)).await;
    subject.tend().await;
    assert_eq!(subject.waiting().await, 0);
}

pub(crate) async fn a_decision_about_a_record_that_is_not_there_any_more_is_forgotten(subject: Subject) {
    let child = subject.ready("c", "Price", 0).await;
    let claim = subject.must_claim().await;
    subject.inbox.park(claim.key, rules(), vec![orphan(1, &[7]), orphan(2, &[7])]).await.unwrap();
    subject.inbox.forget_attempts(claim.key, Forget::Records(vec![2])).await.unwrap();
    subject.finish(&claim, done(1, 1, 0)).await;
    subject.parents("p", &[7]).await;
    subject.tend().await;
    subject.must_claim_woken(child, "{\"record\":1}\n").await;
}

pub(crate) async fn what_a_sink_only_holds_is_known_at_the_end_and_not_before(subject: Subject) {
    let child = subject.parked("c", 0, vec![orphan(1, &[7])]).await;
    subject.tend().await;
    subject.ready("p", "Item", 0).await;
    let held = |known: &[u64]| Remarks { is_held: true, ..items(known) };
    let claim = subject.must_claim().await;
    subject.inbox.progress(claim.key, Progress::default(), held(&[7, 9])).await.unwrap();
    subject.finish(&claim, subject.retry(Duration::ZERO)).await;
    subject.tend().await;
    assert!(!subject.is_known(7).await);
    let again = subject.must_claim().await;
    assert!(again.has_leftovers);
    while subject.inbox.forget_attempts(again.key, Forget::Staged).await.unwrap() {}
    subject.inbox.progress(again.key, Progress::default(), held(&[7])).await.unwrap();
    let staged = async |delivery| {
        let keys = vec![key(7), key(9)];
        subject.inbox.heard_events(FeedName::new("eg"), keys, delivery).await.unwrap()
    };
    assert_eq!(staged(again.key.delivery).await, [true, false], "the delivery itself knows what its sink holds");
    assert_eq!(staged(DeliveryId(again.key.delivery.0 + 1)).await, [false, false], "and no other one");
    subject.inbox.finish(again.key, done(2, 0, 0), held(&[8])).await.unwrap();
    assert_eq!(subject.nothing().await, (None, true), "there is something left to do");
    assert_eq!(subject.tend().await.woken, 1);
    assert_eq!((subject.is_known(7).await, subject.is_known(8).await, subject.is_known(9).await), (true, true, false));
    subject.must_claim_woken(child, "{\"record\":1}\n").await;
}

pub(crate) async fn a_woken_record_whose_parent_is_missing_again_is_parked_with_the_time_it_had(subject: Subject) {
    let child = subject.parked("c", 0, vec![orphan(4, &[7]), orphan(6, &[7])]).await;
    subject.tend().await;
    let before = subject.ledger.parked(ParkedSelector::default()).await.unwrap();
    subject.clock.advance(Duration::from_secs(60));
    subject.parents("p", &[7]).await;
    subject.tend().await;
    let woken = subject.must_claim_woken(child, "{\"record\":4}\n{\"record\":6}\n").await;
    let again = Orphan { number: 2, ..orphan(6, &[9]) };
    subject.inbox.park(woken.key, rules(), vec![again]).await.unwrap();
    subject.finish(&woken, done(1, 1, 0)).await;
    subject.tend().await;
    let after = subject.ledger.parked(ParkedSelector::default()).await.unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!((after[0].notice, after[0].number, after[0].missing.as_str()), (child, 6, "item sku=9"));
    assert_eq!((after[0].since, after[0].deadline), (before[1].since, before[1].deadline));
    assert_eq!(subject.counts(child).await, counts(1, 0, 1, 0));
    subject.parents("q", &[9]).await;
    subject.tend().await;
    let woken = subject.must_claim_woken(child, "{\"record\":6}\n").await;
    subject.finish(&woken, done(1, 0, 0)).await;
    assert_eq!(subject.counts(child).await, counts(2, 0, 0, 0));
}

pub(crate) async fn a_woken_record_that_is_refused_is_set_aside_where_it_was_read(subject: Subject) {
    let child = subject.parked("c", 0, vec![orphan(5, &[7])]).await;
    subject.parents("p", &[7]).await;
    subject.tend().await;
    let woken = subject.must_claim().await;
    subject.inbox.finish(woken.key, done(0, 0, 1), vec![super::bad(1)].into()).await.unwrap();
    let delivery = subject.delivery(child).await;
    assert_eq!(delivery.progress.counts, counts(0, 0, 0, 1));
    assert_eq!((delivery.bad_records_first[0].number, delivery.bad_records_first[0].offset), (5, 50));
    assert_eq!(subject.delivery(woken.notice.id).await.bad_records, 0);
}
