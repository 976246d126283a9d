//! Which delivery comes next.

use std::time::Duration;

use super::{Subject, account, done, heard, target};
use crate::inbox::ledger::{AsideId, AsideSelector, Decision, RunKind};
use crate::inbox::{ClaimRequest, Claimed, OnPoison, Ordering};

pub(crate) async fn a_lane_goes_in_published_order_one_at_a_time(subject: Subject) {
    let third = subject.ready("c", "T", 30).await;
    let first = subject.ready("a", "T", 10).await;
    let second = subject.ready("b", "T", 20).await;
    for expected in [first, second, third] {
        let claim = subject.must_claim().await;
        assert_eq!(claim.notice.id, expected);
        assert!(subject.claim().await.is_none(), "one at a time");
        subject.finish(&claim, done(account(1, 0))).await;
    }
}

pub(crate) async fn the_sources_number_orders_what_was_published_together(subject: Subject) {
    let mut expected = Vec::new();
    for (key, sequence) in [("c", 3), ("a", 1), ("b", 2)] {
        let mut notice = heard(key, "T", 0);
        notice.sequence = sequence;
        let id = subject.store(notice).await;
        subject.plan(id, vec![target("r", "s")]).await;
        expected.push((sequence, id));
    }
    expected.sort_unstable();
    for (_, id) in expected {
        let claim = subject.must_claim().await;
        assert_eq!(claim.notice.id, id);
        subject.finish(&claim, done(account(1, 0))).await;
    }
}

pub(crate) async fn blob_types_that_differ_in_case_share_a_lane(subject: Subject) {
    subject.ready("a", "Gateway.Item", 0).await;
    subject.ready("b", "gateway.ITEM", 1).await;
    let claim = subject.must_claim().await;
    assert_eq!(claim.notice.metadata.blob_type, "Gateway.Item");
    assert!(subject.claim().await.is_none());
}

pub(crate) async fn lanes_do_not_wait_for_each_other(subject: Subject) {
    let one = subject.store(heard("a", "T", 0)).await;
    subject.plan(one, vec![target("r", "s"), target("r", "t"), target("q", "s")]).await;
    subject.ready("b", "U", 1).await;
    let mut claims = Vec::new();
    while let Some(claim) = subject.claim().await {
        claims.push((
            claim.notice.metadata.blob_type.clone(),
            claim.target.route.to_string(),
            claim.target.sink.to_string(),
        ));
    }
    claims.sort();
    let expected = [("T", "q", "s"), ("T", "r", "s"), ("T", "r", "t"), ("U", "r", "s")];
    assert_eq!(claims, expected.map(|(t, r, s)| (t.to_owned(), r.to_owned(), s.to_owned())));
}

pub(crate) async fn a_delivery_that_waits_blocks_its_lane(subject: Subject) {
    let first = subject.ready("a", "T", 0).await;
    subject.ready("b", "T", 1).await;
    let claim = subject.must_claim().await;
    subject.finish(&claim, subject.retry(Duration::from_secs(9))).await;
    assert!(subject.claim().await.is_none());
    // One that was published earlier goes first, whenever it arrives.
    let earlier = subject.ready("c", "T", -1).await;
    let claim = subject.must_claim().await;
    assert_eq!(claim.notice.id, earlier);
    subject.finish(&claim, done(account(0, 0))).await;
    subject.clock.advance(Duration::from_secs(9));
    assert_eq!(subject.must_claim().await.notice.id, first);
}

pub(crate) async fn a_quarantined_delivery_does_not_block_its_lane(subject: Subject) {
    subject.ready("a", "T", 0).await;
    let second = subject.ready("b", "T", 1).await;
    let claim = subject.must_claim().await;
    subject.finish(&claim, subject.quarantine()).await;
    assert_eq!(subject.must_claim().await.notice.id, second);
}

pub(crate) async fn without_order_a_blob_type_runs_side_by_side(subject: Subject) {
    for n in 0..5 {
        subject.ready(&format!("k{n}"), "T", n).await;
    }
    let mut published = Vec::new();
    while let Some(claim) = subject.claim_with(subject.request(Ordering::None, 3)).await {
        published.push(claim.notice.published.0 - super::START.0);
    }
    assert_eq!(published, [0, 1, 2], "the oldest first, up to the limit");
}

pub(crate) async fn without_order_a_delivery_that_waits_blocks_nothing(subject: Subject) {
    let first = subject.ready("a", "T", 0).await;
    let second = subject.ready("b", "T", 1).await;
    let claim = subject.claim_with(subject.request(Ordering::None, 5)).await.unwrap();
    assert_eq!(claim.notice.id, first);
    subject.finish(&claim, subject.retry(Duration::from_secs(9))).await;
    let next = subject.claim_with(subject.request(Ordering::None, 5)).await.unwrap();
    assert_eq!(next.notice.id, second);
    subject.clock.advance(Duration::from_secs(9));
    let again = subject.claim_with(subject.request(Ordering::None, 5)).await.unwrap();
    assert_eq!(again.notice.id, first);
}

pub(crate) async fn one_blob_type_is_limited_across_its_lanes(subject: Subject) {
    let notice = subject.store(heard("a", "T", 0)).await;
    subject.plan(notice, vec![target("r", "s"), target("r", "t"), target("r", "u")]).await;
    subject.ready("b", "U", 5).await;
    let request = || subject.request(Ordering::BlobType, 2);
    let first = subject.claim_with(request()).await.unwrap();
    let second = subject.claim_with(request()).await.unwrap();
    assert_eq!((first.notice.id, second.notice.id), (notice, notice));
    let other = subject.claim_with(request()).await.unwrap();
    assert_eq!(other.notice.metadata.blob_type, "U");
    assert!(subject.claim_with(request()).await.is_none());
    subject.finish(&first, done(account(0, 0))).await;
    assert_eq!(subject.claim_with(request()).await.unwrap().notice.id, notice);
}

fn stopping(subject: &Subject, ordering: Ordering) -> ClaimRequest {
    ClaimRequest { on_poison: OnPoison::Stop, ..subject.request(ordering, 100) }
}

pub(crate) async fn a_lane_that_shall_stop_waits_behind_what_is_quarantined(subject: Subject) {
    let poison = subject.ready("a", "T", 0).await;
    let neighbour = subject.ready("b", "T", 1).await;
    let other = subject.ready("c", "U", 2).await;
    let claim = subject.claim_with(stopping(&subject, Ordering::BlobType)).await.unwrap();
    assert_eq!(claim.notice.id, poison);
    subject.finish(&claim, subject.quarantine()).await;
    let claim = subject.claim_with(stopping(&subject, Ordering::BlobType)).await.unwrap();
    assert_eq!(claim.notice.id, other, "another blob type goes on");
    subject.finish(&claim, done(account(1, 0))).await;
    let nothing = subject.inbox.claim(stopping(&subject, Ordering::BlobType)).await.unwrap();
    assert!(matches!(nothing, Claimed::Nothing { unfinished: false, stopped_lanes: 1, .. }), "{nothing:?}");
    let stopped = subject.quarantine.stopped_lanes(10).await.unwrap();
    assert_eq!((stopped.len(), stopped[0].notice, stopped[0].waiting), (1, poison, 1));
    assert_eq!((&stopped[0].target, stopped[0].blob_type.as_str()), (&target("r", "s"), "t"));

    // A release lets it go first again, and a discard lets the others go on without it.
    let id = AsideId { notice: poison, delivery: Some(stopped[0].delivery), number: None };
    let run = subject.quarantine.decide(RunKind::Release, AsideSelector::default()).await.unwrap();
    subject.quarantine.decide_on(run, Decision::GoOn, vec![id]).await.unwrap();
    let again = subject.claim_with(stopping(&subject, Ordering::BlobType)).await.unwrap();
    assert_eq!(again.notice.id, poison);
    subject.finish(&again, subject.quarantine()).await;
    let run = subject.quarantine.decide(RunKind::Discard, AsideSelector::default()).await.unwrap();
    subject.quarantine.decide_on(run, Decision::Discard, vec![id]).await.unwrap();
    assert_eq!(subject.claim_with(stopping(&subject, Ordering::BlobType)).await.unwrap().notice.id, neighbour);
}

pub(crate) async fn without_order_nothing_stops(subject: Subject) {
    subject.ready("a", "T", 0).await;
    let neighbour = subject.ready("b", "T", 1).await;
    let claim = subject.claim_with(stopping(&subject, Ordering::None)).await.unwrap();
    subject.finish(&claim, subject.quarantine()).await;
    assert_eq!(subject.claim_with(stopping(&subject, Ordering::None)).await.unwrap().notice.id, neighbour);
}
