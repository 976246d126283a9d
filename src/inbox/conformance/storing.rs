//! Hearing and planning.

use super::{Subject, heard, target};
use crate::inbox::{Claimed, Ordering};
use crate::notice::{FeedName, Verdict};

pub(crate) async fn every_notice_of_a_batch_gets_its_own_receipt_in_order(subject: Subject) {
    let batch: Vec<_> = (0..50).map(|n| heard(&format!("k{n}"), "T", n)).collect();
    let receipts = subject.inbox.store(batch).await.unwrap();
    assert_eq!(receipts.len(), 50);
    assert!(receipts.iter().all(|receipt| !receipt.is_duplicate()));
    let unplanned = subject.inbox.unplanned(100).await.unwrap();
    for (n, receipt) in receipts.iter().enumerate() {
        let notice = unplanned.iter().find(|notice| notice.id == receipt.notice()).unwrap();
        assert_eq!(notice.dedupe_key, format!("k{n}"));
    }
}

pub(crate) async fn a_second_arrival_is_counted_and_not_stored(subject: Subject) {
    let first = subject.store(heard("k", "T", 0)).await;
    let again = subject.inbox.store(vec![heard("k", "Other", 5)]).await.unwrap();
    assert_eq!((again[0].notice(), again[0].is_duplicate()), (first, true));
    let unplanned = subject.inbox.unplanned(10).await.unwrap();
    assert_eq!(unplanned.len(), 1);
    assert_eq!(unplanned[0].metadata.blob_type, "T", "the first arrival stands");
}

pub(crate) async fn a_key_twice_in_one_batch_is_one_notice(subject: Subject) {
    let receipts = subject.inbox.store(vec![heard("k", "T", 0), heard("l", "T", 0), heard("k", "T", 0)]).await.unwrap();
    assert_eq!(receipts[0].notice(), receipts[2].notice());
    assert_eq!(receipts.iter().map(|receipt| receipt.is_duplicate()).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(subject.inbox.unplanned(10).await.unwrap().len(), 2);
}

pub(crate) async fn the_same_key_of_another_feed_is_another_notice(subject: Subject) {
    let other = crate::notice::HeardNotice { feed: FeedName::new("other"), ..heard("k", "T", 0) };
    let receipts = subject.inbox.store(vec![heard("k", "T", 0), other]).await.unwrap();
    assert_ne!(receipts[0].notice(), receipts[1].notice());
}

pub(crate) async fn what_was_heard_comes_back_whole(subject: Subject) {
    let mut notice = heard("k \u{1F6A2}\u{0}x", "Gateway.Item", -5);
    notice.sequence = i64::MAX;
    notice.metadata.correlation_id = Some("c".to_owned());
    notice.metadata.uri = Some("https://a.example/b%20c?x=1".to_owned());
    notice.metadata.content_type = Some("application/x-jsonlines".to_owned());
    notice.metadata.content_encoding = Some(String::new());
    notice.metadata.properties = Some(serde_json::json!({"b": [1, null], "a": "x"}));
    notice.body = Some(bytes::Bytes::from_static(b"\x00\xffbody"));
    let id = subject.store(notice.clone()).await;
    let unplanned = subject.inbox.unplanned(1).await.unwrap().remove(0);
    assert_eq!(unplanned.body, None, "planning gets no bodies");
    subject.plan(id, vec![target("r", "s")]).await;
    let claim = subject.must_claim().await;
    assert_eq!(claim.target, target("r", "s"));
    let stored = claim.notice;
    assert_eq!((stored.id, &stored.feed, &stored.dedupe_key), (id, &notice.feed, &notice.dedupe_key));
    assert_eq!(stored.metadata, notice.metadata);
    assert_eq!(stored.body, notice.body);
    assert_eq!((stored.published, stored.sequence, stored.stored), (notice.published, i64::MAX, subject.now()));
    assert_eq!(crate::inbox::conformance::START, subject.now());
}

pub(crate) async fn a_skipped_or_unreadable_notice_is_not_planned(subject: Subject) {
    let mut skipped = heard("a", "T", 0);
    skipped.verdict = Verdict::Skipped("excluded".to_owned());
    let mut unreadable = heard("b", "", 0);
    unreadable.verdict = Verdict::Unreadable("not JSON".to_owned());
    let receipts = subject.inbox.store(vec![skipped, unreadable]).await.unwrap();
    assert!(subject.inbox.unplanned(10).await.unwrap().is_empty());
    for receipt in receipts {
        subject.plan(receipt.notice(), vec![target("r", "s")]).await;
    }
    assert_eq!(subject.nothing().await, (None, false));
}

pub(crate) async fn an_empty_batch_is_stored(subject: Subject) {
    assert_eq!(subject.inbox.store(Vec::new()).await.unwrap(), []);
    subject.inbox.plan(Vec::new()).await.unwrap();
    subject.inbox.settled(Vec::new(), subject.now()).await.unwrap();
}

pub(crate) async fn unplanned_notices_come_oldest_first_and_bounded(subject: Subject) {
    let batch: Vec<_> = (0..20).map(|n| heard(&format!("k{n}"), "T", -n)).collect();
    let receipts = subject.inbox.store(batch).await.unwrap();
    let unplanned = subject.inbox.unplanned(7).await.unwrap();
    let expected: Vec<_> = receipts[..7].iter().map(|receipt| receipt.notice()).collect();
    assert_eq!(unplanned.iter().map(|notice| notice.id).collect::<Vec<_>>(), expected);
}

pub(crate) async fn planning_twice_makes_no_second_delivery(subject: Subject) {
    let notice = subject.store(heard("k", "T", 0)).await;
    subject.plan(notice, vec![target("r", "s"), target("r", "s")]).await;
    subject.plan(notice, vec![target("r", "other")]).await;
    assert!(subject.inbox.unplanned(10).await.unwrap().is_empty());
    assert_eq!(subject.must_claim().await.target, target("r", "s"));
    assert!(subject.claim().await.is_none());
}

pub(crate) async fn a_notice_that_no_route_wants_is_done_with(subject: Subject) {
    let notice = subject.store(heard("k", "T", 0)).await;
    assert_eq!(subject.nothing().await, (None, true), "an unplanned notice is unfinished");
    subject.plan(notice, Vec::new()).await;
    assert_eq!(subject.nothing().await, (None, false));
}

pub(crate) async fn store_wakes_whoever_waits_for_a_change(subject: Subject) {
    // What happened before a call is told by it.
    subject.store(heard("a", "T", 0)).await;
    subject.inbox.changed().await;
    let inbox = subject.shared();
    let waiting = tokio::spawn(async move { inbox.changed().await });
    assert!(!waiting.is_finished());
    let notice = subject.store(heard("b", "T", 0)).await;
    waiting.await.unwrap();
    subject.plan(notice, vec![target("r", "s")]).await;
    subject.inbox.changed().await;
    let request = subject.request(Ordering::BlobType, 1);
    assert!(matches!(subject.inbox.claim(request).await.unwrap(), Claimed::Delivery(_)));
}

pub(crate) async fn a_key_is_held_by_its_beginning_and_by_its_feed(subject: Subject) {
    subject.store(heard("abc/file", "T", 0)).await;
    let prefixes = ["abc/", "abc/file", "abc/file2", "ab", "abd", "b", "ABC/"];
    let prefixes: Vec<String> = prefixes.map(str::to_owned).to_vec();
    let held = subject.inbox.holds(FeedName::new("eg"), prefixes.clone()).await.unwrap();
    assert_eq!(held, [true, true, false, true, false, false, false]);
    let other = subject.inbox.holds(FeedName::new("other"), prefixes).await.unwrap();
    assert!(!other.contains(&true));
}

pub(crate) async fn a_mark_stands_until_the_next_one_and_belongs_to_its_feed(subject: Subject) {
    let (one, other) = (FeedName::new("one"), FeedName::new("other"));
    assert_eq!(subject.inbox.mark(&one).await.unwrap(), None);
    subject.inbox.set_mark(&one, "day 1".to_owned()).await.unwrap();
    subject.inbox.set_mark(&other, "day 7".to_owned()).await.unwrap();
    subject.inbox.set_mark(&one, "day 2".to_owned()).await.unwrap();
    assert_eq!(subject.inbox.mark(&one).await.unwrap().as_deref(), Some("day 2"));
    assert_eq!(subject.inbox.mark(&other).await.unwrap().as_deref(), Some("day 7"));
}

pub(crate) async fn the_oldest_unfinished_notice_of_a_feed_is_told(subject: Subject) {
    let late = subject.store(heard("late", "T", 9)).await;
    let feed = heard("x", "T", 0).feed;
    let other = crate::notice::HeardNotice { feed: FeedName::new("elsewhere"), ..heard("k", "T", 1) };
    subject.store(other).await;
    let early = subject.store(heard("early", "T", 4)).await;
    let early_at = heard("early", "T", 4).published;
    assert_eq!(subject.inbox.oldest_unfinished(&feed).await.unwrap(), Some(early_at));
    subject.plan(early, Vec::new()).await;
    assert_eq!(subject.inbox.oldest_unfinished(&feed).await.unwrap(), Some(heard("late", "T", 9).published));
    subject.plan(late, Vec::new()).await;
    assert_eq!(subject.inbox.oldest_unfinished(&feed).await.unwrap(), None);
}
