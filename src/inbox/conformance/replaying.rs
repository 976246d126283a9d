//! Delivering again.

use super::{Subject, account, done, heard, target};
use crate::inbox::RunId;
use crate::inbox::ledger::{DeliveryState, NoticeState, Selector};
use crate::notice::{NoticeId, Verdict};

fn only(notice: NoticeId) -> Selector {
    Selector { ids: vec![notice], ..Selector::default() }
}

pub(crate) async fn a_replay_delivers_again_under_a_run_of_its_own(subject: Subject) {
    let notice = subject.ready("k", "T", 0).await;
    subject.work_off(done(account(3, 0))).await;
    subject.inbox.changed().await;
    let (run, sent) = subject.replay(only(notice), &[]).await;
    assert_eq!(sent, 1);
    assert_ne!(run, RunId(0));
    subject.inbox.changed().await;
    assert_eq!(subject.state(notice).await, NoticeState::Heard);
    subject.plan_all().await;
    let claim = subject.must_claim().await;
    assert_eq!((claim.notice.id, claim.run, claim.attempt, claim.progress), (notice, run, 1, account(0, 0)));
    subject.finish(&claim, done(account(4, 0))).await;
    let story = subject.story(notice).await;
    assert_eq!((story.state, story.run), (NoticeState::Finished, run));
    let deliveries: Vec<_> = story.deliveries.iter().map(|delivery| (delivery.run, delivery.replaced_by)).collect();
    assert_eq!(deliveries, [(RunId(0), Some(run)), (run, None)]);
    let (second, _) = subject.replay(only(notice), &[]).await;
    assert!(second.0 > run.0);
}

pub(crate) async fn a_replay_in_steps_takes_each_notice_once(subject: Subject) {
    for n in 0..20 {
        subject.ready(&format!("k{n}"), ["T", "U"][n as usize % 2], n).await;
    }
    subject.work_off(done(account(1, 0))).await;
    let selector = Selector { blob_types: vec!["t".to_owned()], ..Selector::default() };
    let (_, sent) = subject.replay(selector.clone(), &[]).await;
    assert_eq!(sent, 10);
    subject.plan_all().await;
    assert_eq!(subject.work_off(done(account(1, 0))).await.len(), 10);
    let (_, sent) = subject.replay(Selector { limit: Some(4), ..selector }, &[]).await;
    assert_eq!(sent, 4);
}

pub(crate) async fn a_replay_takes_back_what_was_skipped_or_quarantined(subject: Subject) {
    let mut skipped = heard("a", "T", 0);
    skipped.verdict = Verdict::Skipped("excluded".to_owned());
    let skipped = subject.store(skipped).await;
    let unrouted = subject.store(heard("b", "T", 1)).await;
    subject.plan(unrouted, Vec::new()).await;
    let quarantined = subject.ready("c", "T", 2).await;
    subject.work_off(subject.quarantine()).await;
    assert_eq!(subject.state(quarantined).await, NoticeState::Quarantined);
    let (_, sent) = subject.replay(Selector::default(), &[]).await;
    assert_eq!(sent, 3);
    subject.plan_all().await;
    assert_eq!(subject.work_off(done(account(1, 0))).await, [skipped, unrouted, quarantined]);
    for notice in [skipped, unrouted, quarantined] {
        let story = subject.story(notice).await;
        assert_eq!((story.state, story.reason), (NoticeState::Finished, None));
    }
}

pub(crate) async fn a_replay_leaves_alone_what_is_under_way_or_unreadable(subject: Subject) {
    let waiting = subject.store(heard("a", "T", 0)).await;
    let open = subject.ready("b", "T", 0).await;
    let mut unreadable = heard("c", "", 0);
    unreadable.verdict = Verdict::Unreadable("not JSON".to_owned());
    let unreadable = subject.store(unreadable).await;
    let plan = subject.ledger.replay_plan(Selector::default()).await.unwrap();
    assert_eq!((plan.notices, plan.under_way, plan.unreadable), (0, 2, 1));
    let (_, sent) = subject.replay(Selector::default(), &[]).await;
    assert_eq!(sent, 0);
    let states = [NoticeState::Heard, NoticeState::Open, NoticeState::Quarantined];
    for (notice, state) in [waiting, open, unreadable].into_iter().zip(states) {
        assert_eq!(subject.state(notice).await, state);
    }
}

pub(crate) async fn a_replay_to_one_route_leaves_the_others_as_they_are(subject: Subject) {
    let both = [target("items", "s"), target("audit", "s")];
    let notice = subject.store(heard("k", "T", 0)).await;
    subject.plan(notice, both.to_vec()).await;
    subject.work_off(subject.quarantine()).await;
    subject.replay(only(notice), &["items"]).await;
    subject.plan(notice, both.to_vec()).await;
    let claim = subject.must_claim().await;
    assert_eq!(claim.target, both[0]);
    assert!(subject.claim().await.is_none(), "the run goes to one route");
    subject.finish(&claim, done(account(1, 0))).await;
    let story = subject.story(notice).await;
    assert_eq!(story.state, NoticeState::Quarantined, "the other route's delivery is still set aside");
    let audit: Vec<_> = story.deliveries.iter().filter(|delivery| delivery.target == both[1]).collect();
    assert_eq!(audit.len(), 1);
    assert_eq!((audit[0].state, audit[0].replaced_by), (DeliveryState::Quarantined, None));
    subject.replay(only(notice), &["audit"]).await;
    subject.plan(notice, both.to_vec()).await;
    subject.work_off(done(account(1, 0))).await;
    assert_eq!(subject.state(notice).await, NoticeState::Finished);
    subject.replay(only(notice), &["elsewhere"]).await;
    subject.plan(notice, both.to_vec()).await;
    assert_eq!(subject.state(notice).await, NoticeState::Finished, "no route of the run takes it: all is as before");
}

pub(crate) async fn a_replay_plan_says_what_is_known_and_changes_nothing(subject: Subject) {
    let first = subject.ready("a", "T", 0).await;
    subject.ready("b", "T", 1).await;
    subject.work_off(done(account(7, 3))).await;
    let mut carried = heard("c", "T", 2);
    carried.body = Some(bytes::Bytes::from_static(b"12345"));
    carried.verdict = Verdict::Skipped("excluded".to_owned());
    subject.store(carried).await;
    let plan = subject.ledger.replay_plan(Selector::default()).await.unwrap();
    assert_eq!((plan.notices, plan.records, plan.bytes, plan.never_delivered), (3, 20, 205, 1));
    let plan = subject.ledger.replay_plan(Selector { limit: Some(1), ..Selector::default() }).await.unwrap();
    assert_eq!(plan.notices, 1);
    assert_eq!(subject.state(first).await, NoticeState::Finished);
    assert_eq!(subject.nothing().await, (None, false));
}

pub(crate) async fn a_replay_takes_nothing_that_is_stored_after_it_began(subject: Subject) {
    subject.ready("a", "T", 0).await;
    subject.work_off(done(account(1, 0))).await;
    let mut replay = subject.ledger.replay_start(Selector::default(), Vec::new()).await.unwrap();
    subject.ready("b", "T", 1).await;
    subject.work_off(done(account(1, 0))).await;
    assert_eq!(subject.ledger.replay_more(&mut replay, 10).await.unwrap().sent, 1);
    assert!(subject.ledger.replay_more(&mut replay, 10).await.unwrap().finished);
}
