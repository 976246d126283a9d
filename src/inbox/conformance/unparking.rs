//! What becomes of parked records that no parent wakes: deadlines, bounds, newer records, replay, release; and how
//! parking is told.

use std::time::Duration;

use super::Subject;
use super::orphans::{PARK_FOR, counts, done, item, key, latest_only, orphan, rules};
use crate::error::Class;
use crate::inbox::ledger::{NoticeState, ParkedSelector, Retention, Selector};
use crate::inbox::{AtDeadline, DeliveryId, Fate, Orphan, ParkRules};
use crate::notice::{EntityName, SinkName};
use crate::record::BadRecord;

async fn all_bad(subject: &Subject, delivery: DeliveryId) -> Vec<BadRecord> {
    subject.ledger.bad_records(delivery, 1, 100).await.unwrap()
}

pub(crate) async fn at_its_deadline_a_record_is_set_aside_whole(subject: Subject) {
    let child = subject.parked("c", 0, vec![orphan(5, &[7])]).await;
    assert_eq!(subject.tend().await.next_deadline, Some(subject.now().plus(PARK_FOR)));
    subject.clock.advance(PARK_FOR);
    assert_eq!(subject.tend().await.expired, 1);
    let delivery = subject.delivery(child).await;
    assert_eq!(delivery.progress.counts, counts(0, 0, 0, 1));
    let bad = all_bad(&subject, delivery.id).await;
    assert_eq!((bad[0].number, bad[0].offset, bad[0].class), (5, 50, Class::MissingParent));
    assert_eq!(bad[0].bytes, orphan(5, &[]).body);
    assert!(bad[0].reason.contains("item sku=7"), "{}", bad[0].reason);
    assert_eq!(subject.ledger.summary().await.unwrap().last_day.counts, counts(0, 0, 0, 1));
    subject.parents("p", &[7]).await;
    assert_eq!(subject.tend().await.woken, 0, "it waits no more");
}

pub(crate) async fn at_its_deadline_a_record_goes_without_its_parent_where_the_route_says_so(subject: Subject) {
    let deliver = ParkRules { at_deadline: AtDeadline::Deliver, ..rules() };
    let child = subject.parked_as("c", 0, deliver, vec![orphan(5, &[7])]).await;
    subject.tend().await;
    subject.clock.advance(PARK_FOR);
    assert_eq!(subject.tend().await.woken, 1);
    let woken = subject.must_claim_woken(child, "{\"record\":5}\n").await;
    assert!(woken.woken.unwrap().is_released, "its parent is not looked for again");
    subject.finish(&woken, done(1, 0, 0)).await;
    assert_eq!(subject.counts(child).await, counts(1, 0, 0, 0));
}

pub(crate) async fn a_newer_record_takes_the_place_of_a_parked_one(subject: Subject) {
    let about = |number, n| Orphan { own: Some((EntityName::new("price"), key(n))), ..orphan(number, &[7]) };
    let old = subject.parked_as("old", 10, latest_only(), vec![about(1, 50), about(2, 51)]).await;
    let new = subject.parked_as("new", 20, latest_only(), vec![about(1, 50)]).await;
    let older = subject.parked_as("older", 5, latest_only(), vec![about(1, 50)]).await;
    assert_eq!(subject.tend().await.replaced, 2);
    assert_eq!(subject.counts(old).await, counts(0, 1, 1, 0));
    assert_eq!(subject.counts(new).await, counts(0, 0, 1, 0));
    assert_eq!(subject.counts(older).await, counts(0, 1, 0, 0));
    assert_eq!(subject.waiting().await, 2);
}

pub(crate) async fn a_replay_takes_the_place_of_what_was_parked(subject: Subject) {
    let child = subject.parked("c", 0, vec![orphan(1, &[7]), orphan(2, &[8])]).await;
    subject.parents("p", &[8]).await;
    subject.tend().await;
    subject.replay(Selector { ids: vec![child], ..Selector::default() }, &[]).await;
    assert_eq!(subject.waiting().await, 0, "at once, also before the rows are gone");
    subject.plan_all().await;
    let woken = subject.must_claim().await;
    // The notice that was woken before is older in its lane; its record is read again by the replay.
    let (woken, again) = match woken.woken {
        Some(_) => {
            subject.finish(&woken, done(0, 0, 0)).await;
            (woken, subject.must_claim().await)
        }
        None => {
            subject.finish(&woken, done(2, 0, 0)).await;
            (subject.must_claim().await, woken)
        }
    };
    assert!(woken.woken.unwrap().is_replaced);
    assert_eq!(again.notice.id, child);
    subject.tend().await;
    subject.parents("q", &[7]).await;
    assert_eq!(subject.tend().await.woken, 0, "no second copy is delivered");
}

pub(crate) async fn a_woken_notice_in_quarantine_can_be_replayed_to_where_it_goes(subject: Subject) {
    let child = subject.parked("c", 0, vec![orphan(3, &[7])]).await;
    subject.parents("p", &[7]).await;
    subject.tend().await;
    let woken = subject.must_claim().await;
    subject.finish(&woken, subject.quarantine()).await;
    subject.tend().await;
    assert_eq!(subject.state(woken.notice.id).await, NoticeState::Quarantined);
    assert_eq!(subject.counts(child).await, counts(0, 0, 1, 0), "its end is not known yet");
    let select = Selector { ids: vec![woken.notice.id], ..Selector::default() };
    assert_eq!(subject.replay(select.clone(), &["elsewhere"]).await.1, 0);
    assert_eq!(subject.state(woken.notice.id).await, NoticeState::Quarantined);
    assert_eq!(subject.replay(select.clone(), &[]).await.1, 1);
    assert!(subject.inbox.unplanned(10).await.unwrap().is_empty(), "no router plans it");
    let again = subject.must_claim_woken(child, "{\"record\":3}\n").await;
    subject.finish(&again, done(1, 0, 0)).await;
    assert_eq!(subject.counts(child).await, counts(1, 0, 0, 0));
    assert_eq!(subject.replay(select, &[]).await.1, 0, "once it is done, there is nothing of it to do again");
}

pub(crate) async fn nothing_is_pruned_that_has_parked_records_or_is_being_woken(subject: Subject) {
    let child = subject.parked("c", 0, vec![orphan(1, &[7])]).await;
    let prune = async || {
        subject.clock.advance(Duration::from_secs(1));
        subject
            .ledger
            .prune(Retention { age: Duration::ZERO, bytes: None, keys: Duration::ZERO })
            .await
            .unwrap()
            .notices
    };
    assert_eq!(prune().await, 0, "also before it is in force");
    subject.tend().await;
    subject.parents("p", &[7]).await;
    assert_eq!(prune().await, 1, "the parent's notice");
    assert_eq!(subject.tend().await.woken, 1);
    assert_eq!(prune().await, 0);
    let woken = subject.must_claim_woken(child, "{\"record\":1}\n").await;
    subject.finish(&woken, done(1, 0, 0)).await;
    assert_eq!(prune().await, 2, "now that it is done, both go");
}

pub(crate) async fn records_are_released_by_hand_once(subject: Subject) {
    let child = subject.parked("c", 0, vec![orphan(1, &[7]), orphan(2, &[8])]).await;
    subject.tend().await;
    let selector = ParkedSelector { missing: Some("sku=8".to_owned()), ..ParkedSelector::default() };
    let step = subject.ledger.release(selector.clone(), 0).await.unwrap();
    assert_eq!((step.released, step.finished), (1, true));
    assert_eq!(subject.ledger.release(selector, 0).await.unwrap().released, 0);
    let woken = subject.must_claim_woken(child, "{\"record\":2}\n").await;
    assert!(woken.woken.unwrap().is_released);
    subject.finish(&woken, done(1, 0, 0)).await;
    assert_eq!(subject.counts(child).await, counts(1, 0, 1, 0));
}

pub(crate) async fn imported_keys_are_known_and_wake(subject: Subject) {
    subject.parked("c", 0, vec![orphan(1, &[7])]).await;
    subject.tend().await;
    let import = async |keys: &[u64]| {
        let keys = keys.iter().map(|n| key(*n)).collect();
        subject.ledger.entities_import(SinkName::new("s"), item(), keys).await.unwrap()
    };
    assert_eq!((import(&[7, 8]).await, import(&[8, 9, 9]).await), (2, 1));
    assert!(subject.ledger.entity_known(SinkName::new("s"), item(), key(9)).await.unwrap());
    assert_eq!(subject.tend().await.woken, 1);
    assert_eq!(subject.ledger.entities().await.unwrap()[0].keys, 3);
}

pub(crate) async fn what_is_parked_is_told_by_record_and_by_parent(subject: Subject) {
    let child = subject.parked("c", 0, vec![orphan(1, &[7]), orphan(2, &[8]), orphan(3, &[8])]).await;
    subject.tend().await;
    let lines = subject.ledger.parked(ParkedSelector { limit: Some(2), ..ParkedSelector::default() }).await.unwrap();
    assert_eq!(lines.iter().map(|line| (line.notice, line.number)).collect::<Vec<_>>(), [(child, 1), (child, 2)]);
    let groups = subject.ledger.parked_groups(ParkedSelector::default()).await.unwrap();
    let groups: Vec<_> = groups.iter().map(|group| (group.missing.as_str(), group.records)).collect();
    assert_eq!(groups, [("item sku=8", 2), ("item sku=7", 1)]);
    let other = ParkedSelector { sinks: vec![SinkName::new("other")], ..ParkedSelector::default() };
    assert!(subject.ledger.parked(other).await.unwrap().is_empty());
    let parked = subject.ledger.summary().await.unwrap().parked;
    assert_eq!((parked.records, parked.bytes, parked.oldest), (3, 36, Some(subject.now())));
}

pub(crate) async fn at_the_bound_the_oldest_go_as_at_their_deadline(subject: Subject) {
    // The subject of the suite may park 3,200 records.
    let first = subject.parked("a", 0, (1..=2_000).map(|n| orphan(n, &[7])).collect()).await;
    subject.tend().await;
    subject.clock.advance(Duration::from_secs(1));
    subject.ready("b", "Price", 1).await;
    let claim = subject.must_claim().await;
    let fates = subject.inbox.park(claim.key, rules(), (1..=1_300).map(|n| orphan(n, &[8])).collect()).await.unwrap();
    let parked = fates.iter().filter(|fate| **fate == Fate::Parked).count() as u64;
    assert_eq!(parked, 1_200);
    assert!(fates[1_200..].iter().all(|fate| *fate == Fate::Refused), "beyond the bound, nothing is taken");
    let refused: Vec<_> = (1_201..=1_300).map(super::bad).collect();
    subject.inbox.finish(claim.key, done(0, parked, 100), refused.into()).await.unwrap();
    let tended = subject.tend().await;
    assert_eq!(tended.crowded_out, 200, "down to fifteen sixteenths");
    assert_eq!(subject.counts(first).await, counts(0, 0, 1_800, 200));
    let bad = all_bad(&subject, subject.delivery(first).await.id).await;
    assert!(bad[0].reason.contains("rows_max"), "{}", bad[0].reason);
}
