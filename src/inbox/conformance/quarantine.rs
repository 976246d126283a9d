//! What was set aside, and what people decide about it.

use std::time::Duration;

use super::{Subject, account, bad, done, heard, target};
use crate::error::Class;
use crate::inbox::ledger::{
    Aside, AsideId, AsideKind, AsideSelector, Decided, Decision, NoticeState, Retention, RunKind, Selector,
};
use crate::inbox::{Finish, RunId};
use crate::notice::{HeardNotice, NoticeId, RouteName, Verdict};
use crate::record::BadRecord;

async fn listed(subject: &Subject, selector: AsideSelector) -> Vec<Aside> {
    let mut all: Vec<Aside> = Vec::new();
    loop {
        // Pages of two, so that every case goes over their edges.
        let after = all.last().map(|aside| aside.id);
        let page = subject.quarantine.set_aside(selector.clone(), after, 2, true).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// What is listed, as notice and record.
async fn names(subject: &Subject, selector: AsideSelector) -> Vec<(NoticeId, Option<u64>)> {
    listed(subject, selector).await.iter().map(|aside| (aside.id.notice, aside.id.number)).collect()
}

async fn decide(subject: &Subject, kind: RunKind, selector: AsideSelector) -> (RunId, Decided) {
    let these: Vec<AsideId> = listed(subject, selector.clone()).await.iter().map(|aside| aside.id).collect();
    let run = subject.quarantine.decide(kind, selector).await.unwrap();
    let decision = if kind == RunKind::Release { Decision::PlanAnew } else { Decision::Discard };
    (run, subject.quarantine.decide_on(run, decision, these).await.unwrap())
}

fn only(notice: NoticeId) -> AsideSelector {
    AsideSelector { notices: Selector { ids: vec![notice], ..Selector::default() }, ..AsideSelector::default() }
}

/// A notice of which five records are done and the records `numbers` are set aside.
async fn with_bad(subject: &Subject, key: &str, numbers: &[u64]) -> NoticeId {
    let notice = subject.ready(key, "T", 0).await;
    let claim = subject.must_claim().await;
    let bad: Vec<_> = numbers.iter().map(|number| bad(*number)).collect();
    subject.inbox.finish(claim.key, done(account(5, numbers.len() as u64)), bad.into()).await.unwrap();
    notice
}

pub(crate) async fn what_was_set_aside_is_listed_newest_notice_first(subject: Subject) {
    let mut unreadable = heard("u", "", 0);
    unreadable.verdict = Verdict::Unreadable("not JSON".to_owned());
    unreadable.body = Some(bytes::Bytes::from_static(b"\xffraw"));
    let unreadable = subject.store(unreadable).await;
    let records = with_bad(&subject, "a", &[2, 5, 9]).await;
    let whole = subject.ready("b", "T", 0).await;
    subject.work_off(subject.quarantine()).await;
    with_bad(&subject, "clean", &[]).await;
    let all = listed(&subject, AsideSelector::default()).await;
    let names: Vec<_> = all.iter().map(|aside| (aside.id.notice, aside.id.number)).collect();
    assert_eq!(names, [(whole, None), (records, Some(2)), (records, Some(5)), (records, Some(9)), (unreadable, None)]);
    assert_eq!(
        (all[0].reason.as_str(), all[0].class, all[0].target.clone()),
        ("truncated", Class::Poison, Some(target("r", "s")))
    );
    assert_eq!((all[1].offset, all[1].bytes.as_slice(), all[1].reason.as_str()), (Some(20), &b"{"[..], "not JSON"));
    assert_eq!((all[4].bytes.as_slice(), &all[4].target), (&b"\xffraw"[..], &None));
    assert_eq!(subject.quarantine.body(unreadable).await.unwrap().as_deref(), Some(&b"\xffraw"[..]));
}

pub(crate) async fn a_choice_takes_what_meets_every_part(subject: Subject) {
    let a = subject.ready("a", "Gateway.Item", 0).await;
    let claim = subject.must_claim().await;
    let refused =
        BadRecord { class: Class::Permanent, reason: "422: No Such Store".to_owned(), is_readable: true, ..bad(7) };
    subject.inbox.finish(claim.key, done(account(5, 2)), vec![bad(2), refused].into()).await.unwrap();
    let b = subject.ready("b", "Other", 0).await;
    subject.work_off(subject.quarantine()).await;
    let all = AsideSelector::default();
    let of_type = |glob: &str| Selector { blob_types: vec![glob.to_owned()], ..Selector::default() };
    let on_route = |route: &str| Selector { routes: vec![RouteName::new(route)], ..Selector::default() };
    for (selector, expected) in [
        (AsideSelector { only: Some(AsideKind::Notices), ..all.clone() }, vec![(b, None)]),
        (AsideSelector { only: Some(AsideKind::Records), ..all.clone() }, vec![(a, Some(2)), (a, Some(7))]),
        (AsideSelector { classes: vec![Class::Permanent], ..all.clone() }, vec![(a, Some(7))]),
        (AsideSelector { reason: Some("no such".to_owned()), ..all.clone() }, vec![(a, Some(7))]),
        (
            AsideSelector { notices: of_type("gateway.*"), classes: vec![Class::Poison], ..all.clone() },
            vec![(a, Some(2))],
        ),
        (AsideSelector { notices: on_route("r"), only: Some(AsideKind::Notices), ..all.clone() }, vec![(b, None)]),
        (AsideSelector { notices: on_route("other"), ..all.clone() }, vec![]),
        (AsideSelector { records: vec![(a, 7)], ..only(a) }, vec![(a, Some(7))]),
        (
            AsideSelector {
                notices: Selector { ids: vec![a, b], ..Selector::default() },
                records: vec![(a, 2)],
                ..all
            },
            vec![(b, None), (a, Some(2))],
        ),
    ] {
        assert_eq!(names(&subject, selector.clone()).await, expected, "{selector:?}");
    }
}

pub(crate) async fn a_release_sends_on_what_was_set_aside_and_nothing_that_is_done(subject: Subject) {
    let notice = subject.store(heard("k", "T", 0)).await;
    let targets = vec![target("r", "s"), target("r", "t")];
    subject.plan(notice, targets.clone()).await;
    let (first, second) = (subject.must_claim().await, subject.must_claim().await);
    subject.finish(&first, done(account(5, 0))).await;
    subject.finish(&second, subject.quarantine()).await;
    assert_eq!(subject.state(notice).await, NoticeState::Quarantined);
    let (run, did) = decide(&subject, RunKind::Release, AsideSelector::default()).await;
    assert_eq!(did, Decided { deliveries: 1, ..Decided::default() });
    assert_eq!(names(&subject, AsideSelector::default()).await, []);
    subject.plan(notice, targets).await;
    let again = subject.must_claim().await;
    assert_eq!((again.run, &again.target, again.attempt), (run, &second.target, 1));
    assert!(subject.claim().await.is_none(), "what is done is not done again");
    subject.finish(&again, done(account(5, 0))).await;
    assert_eq!(subject.state(notice).await, NoticeState::Finished);
    assert_eq!(subject.findings().await, []);
}

pub(crate) async fn a_released_delivery_goes_on_after_what_is_confirmed(subject: Subject) {
    let notice = subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    subject.inbox.progress(claim.key, account(4, 1), vec![bad(2)].into()).await.unwrap();
    subject.inbox.finish(claim.key, subject.quarantine(), vec![bad(8)].into()).await.unwrap();
    subject.clock.advance(Duration::from_secs(60));
    let run = subject.quarantine.decide(RunKind::Release, only(notice)).await.unwrap();
    let these: Vec<_> = listed(&subject, only(notice)).await.iter().map(|aside| aside.id).collect();
    let did = subject.quarantine.decide_on(run, Decision::GoOn, these).await.unwrap();
    assert_eq!((did.deliveries, did.unsettled), (1, 1), "record 8 is read again, and 2 goes with its delivery");
    assert_eq!(subject.state(notice).await, NoticeState::Open);
    let again = subject.must_claim().await;
    assert_eq!((again.run, again.progress, again.attempt), (RunId(0), account(4, 1), 1));
    assert_eq!(again.key.delivery, claim.key.delivery, "its identity is the same, so that a sink knows it");
    assert_eq!(again.since, subject.now(), "its budget starts anew");
    subject.finish(&again, done(account(9, 1))).await;
    assert_eq!(names(&subject, AsideSelector::default()).await, [(notice, Some(2))], "record 8 was read again");
    assert_eq!(subject.findings().await, []);
}

pub(crate) async fn a_release_waits_for_a_delivery_of_its_notice_that_is_under_way(subject: Subject) {
    let notice = subject.store(heard("k", "T", 0)).await;
    let targets = vec![target("r", "s"), target("r", "t")];
    subject.plan(notice, targets.clone()).await;
    let (first, second) = (subject.must_claim().await, subject.must_claim().await);
    subject.finish(&second, subject.quarantine()).await;
    // Listed as part of a notice that is open, by what another of its deliveries has withheld, or not at all.
    let run = subject.quarantine.decide(RunKind::Release, only(notice)).await.unwrap();
    let these = vec![AsideId { notice, delivery: Some(second.key.delivery), number: None }];
    subject.quarantine.decide_on(run, Decision::PlanAnew, these).await.unwrap();
    subject.finish(&first, done(account(5, 0))).await;
    assert_eq!(subject.state(notice).await, NoticeState::Heard, "its plan is still to come");
    subject.plan(notice, targets).await;
    assert_eq!(subject.must_claim().await.target, second.target);
}

pub(crate) async fn a_discarded_delivery_counts_no_more_and_is_kept_until_the_retention(subject: Subject) {
    let retention = Retention { age: Duration::from_secs(3600), bytes: None, keys: Duration::from_secs(3600) };
    let mut unreadable = heard("u", "", 0);
    unreadable.verdict = Verdict::Unreadable("not JSON".to_owned());
    let unreadable = subject.store(unreadable).await;
    let alone = subject.ready("a", "T", 0).await;
    subject.work_off(subject.quarantine()).await;
    let beside = subject.store(HeardNotice { ..heard("b", "T", 0) }).await;
    subject.plan(beside, vec![target("r", "s"), target("r", "t")]).await;
    let (first, second) = (subject.must_claim().await, subject.must_claim().await);
    subject.finish(&first, done(account(5, 0))).await;
    subject.finish(&second, subject.quarantine()).await;
    subject.clock.advance(Duration::from_secs(7200));
    let (run, did) = decide(&subject, RunKind::Discard, AsideSelector::default()).await;
    assert_eq!(did, Decided { deliveries: 3, ..Decided::default() });
    assert_eq!(names(&subject, AsideSelector::default()).await, []);
    for (notice, state) in
        [(unreadable, NoticeState::Skipped), (alone, NoticeState::Skipped), (beside, NoticeState::Finished)]
    {
        let story = subject.story(notice).await;
        assert_eq!(story.state, state);
        if state == NoticeState::Skipped {
            assert!(story.reason.unwrap().starts_with("discarded by hand: "));
        }
    }
    assert_eq!(subject.findings().await, []);
    let delivery = subject.story(alone).await.deliveries.remove(0);
    assert_eq!((delivery.replaced_by, delivery.replaced_as), (Some(run), Some(RunKind::Discard)));
    assert_eq!(subject.ledger.prune(retention).await.unwrap().notices, 0, "the retention counts from the decision");
    subject.clock.advance(Duration::from_secs(3601));
    assert_eq!(subject.ledger.prune(retention).await.unwrap().notices, 3);
}

pub(crate) async fn a_discarded_record_stays_in_the_account_and_waits_for_nobody(subject: Subject) {
    let retention = Retention { age: Duration::from_secs(3600), bytes: None, keys: Duration::from_secs(3600) };
    let notice = with_bad(&subject, "a", &[2, 5]).await;
    let two = AsideSelector { records: vec![(notice, 2)], ..only(notice) };
    assert_eq!(decide(&subject, RunKind::Discard, two.clone()).await.1.records, 1);
    assert_eq!(decide(&subject, RunKind::Discard, two).await.1.records, 0, "and only once");
    assert_eq!(names(&subject, AsideSelector::default()).await, [(notice, Some(5))]);
    let delivery = subject.story(notice).await.deliveries.remove(0);
    assert_eq!((delivery.progress.counts.quarantined, delivery.discarded_records), (2, 1));
    assert!(delivery.progress.counts.is_balanced());
    assert_eq!(subject.findings().await, []);
    subject.clock.advance(Duration::from_secs(7200));
    assert_eq!(subject.ledger.prune(retention).await.unwrap().notices, 0, "the other record waits");
    decide(&subject, RunKind::Discard, only(notice)).await;
    assert_eq!(subject.ledger.summary().await.unwrap().notices.with_withheld_records, 0);
    subject.clock.advance(Duration::from_secs(3601));
    assert_eq!(subject.ledger.prune(retention).await.unwrap().notices, 1);
}

pub(crate) async fn what_cannot_be_decided_is_left_alone_and_said(subject: Subject) {
    let mut unreadable = heard("u", "", 0);
    unreadable.verdict = Verdict::Unreadable("not JSON".to_owned());
    let unreadable = subject.store(unreadable).await;
    let under_way = subject.store(heard("k", "T", 0)).await;
    subject.plan(under_way, vec![target("r", "s"), target("r", "t")]).await;
    let (first, second) = (subject.must_claim().await, subject.must_claim().await);
    subject.inbox.finish(first.key, done(account(5, 1)), vec![bad(2)].into()).await.unwrap();
    subject.inbox.progress(second.key, account(5, 1), vec![bad(2)].into()).await.unwrap();
    let (_, did) = decide(&subject, RunKind::Discard, only(under_way)).await;
    assert_eq!((did.records, did.unsettled), (1, 1), "a delivery under way may read its records again");
    let (_, did) = decide(&subject, RunKind::Release, only(unreadable)).await;
    assert_eq!(did, Decided { unreadable: 1, ..Decided::default() });
    assert_eq!(subject.state(unreadable).await, NoticeState::Quarantined);
}

pub(crate) async fn a_delivery_that_starts_over_forgets_what_it_set_aside_before(subject: Subject) {
    let notice = subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    subject.inbox.progress(claim.key, account(4, 2), vec![bad(2), bad(4)].into()).await.unwrap();
    subject.finish(&claim, Finish::Release).await;
    let again = subject.must_claim().await;
    subject.inbox.progress(again.key, account(3, 1), vec![bad(4)].into()).await.unwrap();
    subject.inbox.finish(again.key, done(account(8, 2)), vec![bad(9)].into()).await.unwrap();
    assert_eq!(names(&subject, AsideSelector::default()).await, [(notice, Some(4)), (notice, Some(9))]);
    assert_eq!(subject.findings().await, []);
}
