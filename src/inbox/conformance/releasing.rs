//! Releasing and discarding single records.

use super::orphans::{PARK_FOR, counts, done, orphan, rules, up_to};
use super::{Subject, bad};
use crate::error::Class;
use crate::inbox::ledger::{AsideId, AsideKind, AsideSelector, Decided, Decision, RunKind};
use crate::inbox::{Claim, Finish, Remarks};
use crate::notice::NoticeId;
use crate::record::BadRecord;

/// A record that the sink refused, whole.
fn refused(number: u64) -> BadRecord {
    BadRecord {
        class: Class::Permanent,
        reason: "422: no such store".to_owned(),
        is_readable: true,
        bytes: orphan(number, &[]).body.to_vec(),
        ..bad(number)
    }
}

/// A notice of blob type `Price`, of which record 1 is delivered, and these are set aside.
async fn with(subject: &Subject, name: &str, set_aside: Vec<BadRecord>) -> NoticeId {
    let notice = subject.ready(name, "Price", 5).await;
    let claim = subject.must_claim().await;
    let many = set_aside.len() as u64;
    subject.inbox.finish(claim.key, up_to(9, done(1, 0, many)), set_aside.into()).await.unwrap();
    notice
}

/// Decides on every single record.
async fn decide(subject: &Subject, kind: RunKind, decision: Decision) -> Decided {
    let selector = AsideSelector { only: Some(AsideKind::Records), ..AsideSelector::default() };
    let these = subject.quarantine.set_aside(selector.clone(), None, 100, false).await.unwrap();
    let these: Vec<AsideId> = these.iter().map(|aside| aside.id).collect();
    let run = subject.quarantine.decide(kind, selector).await.unwrap();
    let did = subject.quarantine.decide_on(run, decision, these.clone()).await.unwrap();
    assert_eq!(subject.findings().await, []);
    let again = subject.quarantine.decide_on(run, decision, these).await.unwrap();
    assert_eq!(again.records, 0, "and only once");
    did
}

async fn release(subject: &Subject) -> Decided {
    decide(subject, RunKind::Release, Decision::GoOn).await
}

fn records(records: u64) -> Decided {
    Decided { records, ..Decided::default() }
}

async fn end(subject: &Subject, claim: &Claim, finish: Finish, remarks: Remarks) {
    subject.inbox.finish(claim.key, finish, remarks).await.unwrap();
    assert_eq!(subject.findings().await, []);
}

pub(crate) async fn a_released_record_goes_to_where_it_was_going_and_its_account_follows(subject: Subject) {
    let notice = with(&subject, "n", vec![refused(2), refused(4)]).await;
    assert_eq!(subject.counts(notice).await, counts(1, 0, 0, 2));
    assert_eq!(release(&subject).await, records(2));
    assert_eq!(subject.counts(notice).await, counts(1, 0, 2, 0), "on its way it counts as parked");
    let claim = subject.must_claim_woken(notice, "{\"record\":2}\n{\"record\":4}\n").await;
    assert!(!claim.woken.unwrap().is_released, "it goes the ordinary way: its parents are looked for");
    assert_eq!(claim.notice.published, subject.story(notice).await.published, "newer wins");
    end(&subject, &claim, done(2, 0, 0), Remarks::default()).await;
    assert_eq!(subject.counts(notice).await, counts(3, 0, 0, 0));
    assert_eq!(subject.nothing().await, (None, false));
    let summary = subject.ledger.summary().await.unwrap();
    assert_eq!((summary.last_day.counts, summary.notices.with_withheld_records), (counts(3, 0, 0, 0), 0));
}

pub(crate) async fn what_cannot_go_alone_stays_and_is_said(subject: Subject) {
    let cut = BadRecord { is_cut: true, ..refused(3) };
    let notice = with(&subject, "n", vec![bad(2), cut]).await;
    assert_eq!(release(&subject).await, Decided { not_alone: 2, ..Decided::default() });
    assert_eq!(subject.counts(notice).await, counts(1, 0, 0, 2));
    let elsewhere = decide(&subject, RunKind::Release, Decision::PlanAnew).await;
    assert_eq!(elsewhere, Decided { not_alone: 2, ..Decided::default() });
    assert_eq!(decide(&subject, RunKind::Discard, Decision::Discard).await, records(2));
    assert_eq!(subject.nothing().await, (None, false));
}

pub(crate) async fn a_record_of_a_delivery_under_way_is_not_released(subject: Subject) {
    subject.ready("n", "Price", 5).await;
    let claim = subject.must_claim().await;
    let Finish::Done { progress, .. } = done(1, 0, 1) else { unreachable!() };
    subject.inbox.progress(claim.key, progress, vec![refused(2)].into()).await.unwrap();
    let these = vec![AsideId { notice: claim.notice.id, delivery: Some(claim.key.delivery), number: Some(2) }];
    let run = subject.quarantine.decide(RunKind::Release, AsideSelector::default()).await.unwrap();
    let did = subject.quarantine.decide_on(run, Decision::GoOn, these).await.unwrap();
    assert_eq!(did, Decided { unsettled: 1, ..Decided::default() });
}

pub(crate) async fn a_released_record_that_is_refused_again_is_set_aside_where_it_was_read(subject: Subject) {
    let notice = with(&subject, "n", vec![refused(7)]).await;
    for _ in 0..2 {
        assert_eq!(release(&subject).await, records(1));
        let claim = subject.must_claim_woken(notice, "{\"record\":7}\n").await;
        let again = BadRecord { bytes: refused(7).bytes, ..refused(1) };
        end(&subject, &claim, done(0, 0, 1), vec![again].into()).await;
        assert_eq!(subject.counts(notice).await, counts(1, 0, 0, 1));
    }
    let delivery = subject.delivery(notice).await.id;
    let kept = subject.ledger.bad_records(delivery, 1, 10).await.unwrap();
    assert_eq!((kept[0].number, kept[0].offset, kept.len()), (7, refused(7).offset, 1));
    assert_eq!(decide(&subject, RunKind::Discard, Decision::Discard).await, records(1));
}

pub(crate) async fn a_released_record_goes_under_its_own_type(subject: Subject) {
    let own = BadRecord { blob_type: Some("Own".to_owned()), ..refused(7) };
    let notice = with(&subject, "n", vec![refused(5), own]).await;
    for _ in 0..2 {
        assert_eq!(release(&subject).await, records(2));
        for (number, blob_type) in [(5, "Price"), (7, "Own")] {
            let claim = subject.must_claim_woken(notice, &format!("{{\"record\":{number}}}\n")).await;
            assert_eq!(claim.notice.metadata.blob_type, blob_type);
            let own = (blob_type == "Own").then(|| blob_type.to_owned());
            let again = BadRecord { bytes: refused(number).bytes, blob_type: own, ..refused(1) };
            end(&subject, &claim, done(0, 0, 1), vec![again].into()).await;
        }
    }
}

pub(crate) async fn a_released_record_whose_parent_is_missing_is_parked_with_the_time_of_its_route(subject: Subject) {
    let notice = with(&subject, "n", vec![refused(7)]).await;
    assert_eq!(release(&subject).await, records(1));
    let claim = subject.must_claim_woken(notice, "{\"record\":7}\n").await;
    let deadline = subject.now().plus(PARK_FOR);
    subject.inbox.park(claim.key, rules(), vec![crate::inbox::Orphan { number: 1, ..orphan(7, &[3]) }]).await.unwrap();
    end(&subject, &claim, done(0, 1, 0), Remarks::default()).await;
    assert_eq!(subject.tend().await.next_deadline, Some(deadline));
    subject.parents("p", &[3]).await;
    assert_eq!(subject.tend().await.woken, 1);
    let claim = subject.must_claim_woken(notice, "{\"record\":7}\n").await;
    end(&subject, &claim, done(1, 0, 0), Remarks::default()).await;
    assert_eq!(subject.counts(notice).await, counts(2, 0, 0, 0));
}

pub(crate) async fn an_orphan_is_let_go_without_its_parent_by_its_release(subject: Subject) {
    let notice = subject.parked("n", 5, vec![orphan(3, &[7])]).await;
    subject.tend().await;
    subject.clock.advance(PARK_FOR);
    assert_eq!(subject.tend().await.expired, 1);
    assert_eq!(subject.counts(notice).await, counts(0, 0, 0, 1));
    assert_eq!(release(&subject).await, records(1));
    let claim = subject.must_claim_woken(notice, "{\"record\":3}\n").await;
    assert!(claim.woken.unwrap().is_released);
    end(&subject, &claim, done(1, 0, 0), Remarks::default()).await;
    assert_eq!(subject.counts(notice).await, counts(1, 0, 0, 0));
}
