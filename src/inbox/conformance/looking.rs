//! What people are shown.

use std::time::Duration;

use super::{LEASE, START, Subject, account, bad, done, heard, target};
use crate::clock::UnixMs;
use crate::error::Class;
use crate::inbox::InboxError;
use crate::inbox::ledger::{
    ALIVE_FOR, AttemptOutcome, DaemonReport, DeliveryState, HeardAs, Kept, NoticeState, Selector,
};
use crate::inbox::{Finish, Progress, Remarks};
use crate::notice::{FeedName, HeardNotice, NoticeId, RouteName, Verdict};
use crate::ops::health::{Condition, Part};
use crate::record::Counts;

pub(crate) async fn a_selector_takes_what_meets_every_part(subject: Subject) {
    let mut first = heard("a", "Gateway.Item", 10);
    first.metadata.correlation_id = Some("c1".to_owned());
    let second = HeardNotice { feed: FeedName::new("other"), ..heard("b", "Gateway.Price", 20) };
    let mut third = heard("c", "Customers", 30);
    third.metadata.correlation_id = Some("c1".to_owned());
    let a = subject.store(first).await;
    let b = subject.store(second).await;
    let c = subject.store(third).await;
    subject.plan(a, vec![target("items", "s")]).await;
    subject.plan(c, Vec::new()).await;
    let all = Selector::default();
    let at = |ms: i64| Some(UnixMs(START.0 + ms));
    let cases = [
        (all.clone(), vec![c, b, a]),
        (Selector { ids: vec![a, c, NoticeId(999)], ..all.clone() }, vec![c, a]),
        (Selector { correlation_ids: vec!["c1".to_owned()], ..all.clone() }, vec![c, a]),
        (Selector { blob_types: vec!["gateway.*".to_owned()], ..all.clone() }, vec![b, a]),
        (Selector { blob_types: vec!["*ITEM".to_owned(), "cust?mers".to_owned()], ..all.clone() }, vec![c, a]),
        (Selector { feeds: vec![FeedName::new("eg")], ..all.clone() }, vec![c, a]),
        (Selector { since: at(20), ..all.clone() }, vec![c, b]),
        (Selector { until: at(20), ..all.clone() }, vec![a]),
        (Selector { states: vec![NoticeState::Skipped], ..all.clone() }, vec![c]),
        (Selector { states: vec![NoticeState::Heard, NoticeState::Open], ..all.clone() }, vec![b, a]),
        (Selector { routes: vec![RouteName::new("items")], ..all.clone() }, vec![a]),
        (Selector { routes: vec![RouteName::new("items")], since: at(20), ..all.clone() }, vec![]),
        (Selector { blob_types: vec!["Gateway.*".to_owned()], limit: Some(1), ..all }, vec![b]),
    ];
    for (selector, expected) in cases {
        let lines = subject.ledger.notices(selector.clone()).await.unwrap();
        assert_eq!(lines.iter().map(|line| line.id).collect::<Vec<_>>(), expected, "{selector:?}");
    }
}

pub(crate) async fn notices_are_found_by_how_their_keys_begin(subject: Subject) {
    let second = subject.store(heard("aa/x/2", "T", 0)).await;
    let first = subject.store(heard("aa/x/1", "T", 0)).await;
    subject.store(heard("ab/x", "T", 0)).await;
    subject.store(HeardNotice { feed: FeedName::new("other"), ..heard("aa/x/1", "T", 0) }).await;
    subject.plan(second, Vec::new()).await;
    let prefixes = ["aa/", "b", "aa/x/1"].map(str::to_owned).to_vec();
    let found = subject.ledger.states_under(FeedName::new("eg"), prefixes).await.unwrap();
    let kept = |key: &str, notice, state| Kept { dedupe_key: key.to_owned(), notice, state };
    let one = kept("aa/x/1", first, NoticeState::Heard);
    let two = kept("aa/x/2", second, NoticeState::Skipped);
    assert_eq!(found, [vec![one.clone(), two], Vec::new(), vec![one]]);
}

pub(crate) async fn a_list_shows_the_newest_first_up_to_the_limit(subject: Subject) {
    for n in 0..10 {
        subject.ready(&format!("k{n}"), "T", n).await;
    }
    let claim = subject.must_claim().await;
    subject.finish(&claim, done(account(4, 2))).await;
    let lines = subject.ledger.notices(Selector { limit: Some(3), ..Selector::default() }).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.published.0 - START.0).collect::<Vec<_>>(), [9, 8, 7]);
    let none = subject.ledger.notices(Selector { limit: Some(0), ..Selector::default() }).await.unwrap();
    assert_eq!(none, []);
    let finished = Selector { states: vec![NoticeState::Finished], ..Selector::default() };
    let line = subject.ledger.notices(finished).await.unwrap().remove(0);
    assert_eq!((line.id, line.deliveries, line.attempts, line.counts), (claim.notice.id, 1, 1, account(4, 2).counts));
}

pub(crate) async fn a_blob_type_glob_that_cannot_be_understood_is_refused(subject: Subject) {
    let selector = Selector { blob_types: vec!["[".to_owned()], ..Selector::default() };
    let refused = |result: Result<(), InboxError>| assert!(matches!(result, Err(InboxError::BadSelector { .. })));
    refused(subject.ledger.notices(selector.clone()).await.map(drop));
    refused(subject.ledger.replay_plan(selector.clone()).await.map(drop));
    refused(subject.ledger.replay_start(selector, Vec::new()).await.map(drop));
}

pub(crate) async fn a_story_tells_every_attempt(subject: Subject) {
    let notice = subject.ready("k", "T", 0).await;
    let lost = subject.must_claim().await;
    subject.inbox.progress(lost.key, account(5, 0), Remarks::default()).await.unwrap();
    let hold = subject.story(notice).await.deliveries.remove(0).held.unwrap();
    assert_eq!((hold.worker.as_str(), hold.since, hold.lease_until), ("w", START, START.plus(LEASE)));
    subject.clock.advance(LEASE);
    let retried = subject.must_claim().await;
    subject.clock.advance(Duration::from_secs(1));
    subject.finish(&retried, subject.retry(Duration::from_secs(10))).await;
    let story = subject.story(notice).await;
    assert_eq!(story.state, NoticeState::Open);
    let delivery = &story.deliveries[0];
    assert_eq!(delivery.state, DeliveryState::Ready);
    assert_eq!(delivery.due, Some(subject.now().plus(Duration::from_secs(10))));
    assert_eq!((delivery.class, delivery.error.as_deref()), (Some(Class::Transient), Some("reset")));
    subject.clock.advance(Duration::from_secs(10));
    let released = subject.must_claim().await;
    subject.finish(&released, Finish::Release).await;
    let last = subject.must_claim().await;
    subject.clock.advance(Duration::from_secs(2));
    subject.finish(&last, done(account(9, 0))).await;

    let delivery = subject.story(notice).await.deliveries.remove(0);
    assert_eq!((delivery.state, delivery.attempts, delivery.lost), (DeliveryState::Done, 2, 1));
    let history: Vec<_> = delivery
        .history
        .iter()
        .map(|attempt| (attempt.outcome, attempt.ended.since(attempt.started).as_secs(), attempt.confirmed))
        .collect();
    assert_eq!(
        history,
        [
            (AttemptOutcome::Lost, 60, 5),
            (AttemptOutcome::Retry, 1, 5),
            (AttemptOutcome::Released, 0, 5),
            (AttemptOutcome::Done, 2, 9)
        ]
    );
    assert_eq!(delivery.history[1].error.as_deref(), Some("reset"));
}

pub(crate) async fn a_story_tells_where_records_went_and_which_were_set_aside(subject: Subject) {
    let notice = subject.ready("k", "T", 0).await;
    let claim = subject.must_claim().await;
    let records: Vec<_> = (1..=25).map(bad).collect();
    subject.inbox.progress(claim.key, account(0, 12), records[..12].to_vec().into()).await.unwrap();
    subject.inbox.finish(claim.key, done(account(10, 25)), records[12..].to_vec().into()).await.unwrap();
    let delivery = subject.story(notice).await.deliveries.remove(0);
    assert_eq!(delivery.location.as_deref(), Some("/out/file"));
    assert_eq!(delivery.progress, account(10, 25));
    assert_eq!(delivery.bad_records, 25);
    assert_eq!(delivery.bad_records_first, records[..delivery.bad_records_first.len()]);
    let rest = subject.ledger.bad_records(delivery.id, 20, 3).await.unwrap();
    assert_eq!(rest, records[19..22]);
}

pub(crate) async fn a_story_tells_what_was_heard_and_settled(subject: Subject) {
    let mut unreadable = heard("k", "", 5);
    unreadable.verdict = Verdict::Unreadable("not JSON".to_owned());
    unreadable.body = Some(bytes::Bytes::from_static(b"{{{"));
    unreadable.delivery_count = 2;
    let other = subject.store(heard("other", "T", 0)).await;
    let notice = subject.store(unreadable.clone()).await;
    subject.clock.advance(Duration::from_secs(3));
    subject.inbox.settled(vec![notice, other], subject.now()).await.unwrap();
    subject.clock.advance(Duration::from_secs(4));
    subject.store(unreadable).await;
    let story = subject.story(notice).await;
    assert_eq!((story.state, story.heard_as), (NoticeState::Quarantined, HeardAs::Unreadable));
    assert_eq!((story.reason.as_deref(), story.body_bytes), (Some("not JSON"), Some(3)));
    assert_eq!((story.stored, story.settled), (START, Some(START.plus(Duration::from_secs(3)))));
    assert_eq!((story.seen_count, story.last_seen), (2, START.plus(Duration::from_secs(7))));
    assert_eq!((story.delivery_count, story.deliveries.len()), (2, 0));
    assert!(subject.ledger.story(NoticeId(999)).await.unwrap().is_none());
}

pub(crate) async fn the_summary_counts_what_there_is(subject: Subject) {
    let mut skipped = heard("skipped", "T", 0);
    skipped.verdict = Verdict::Skipped("excluded".to_owned());
    subject.store(skipped).await;
    subject.ready("finished", "A", 0).await;
    subject.work_off(done(account(1, 1))).await;
    subject.ready("quarantined", "A", 0).await;
    subject.work_off(subject.quarantine()).await;
    subject.clock.advance(Duration::from_secs(5));
    let waiting = subject.ready("waiting", "B", 0).await;
    subject.work_off(subject.retry(Duration::from_secs(60))).await;
    subject.ready("claimed", "C", 0).await;
    subject.must_claim().await;
    subject.ready("ready", "D", 0).await;
    subject.clock.advance(Duration::from_secs(5));
    subject.store(heard("heard", "T", 0)).await;
    let summary = subject.ledger.summary().await.unwrap();
    let counts = summary.notices;
    assert_eq!((counts.heard, counts.open, counts.finished, counts.skipped, counts.quarantined), (1, 3, 1, 1, 1));
    assert_eq!((counts.with_withheld_records, summary.unbalanced), (1, 0));
    let oldest = summary.oldest_waiting.unwrap();
    assert_eq!((oldest.notice, oldest.stored), (waiting, START.plus(Duration::from_secs(5))));
    assert_eq!(summary.routes.len(), 1);
    let route = &summary.routes[0];
    assert_eq!((route.ready, route.waiting, route.claimed, route.quarantined), (1, 1, 1, 1));
    assert_eq!(route.error.as_deref(), Some("reset"));
    assert_eq!(summary.at, subject.now());
    assert!(summary.database_bytes > 0);
}

pub(crate) async fn the_summary_counts_the_records_of_the_last_day(subject: Subject) {
    let counts = Counts { read: 10, delivered: 4, filtered: 3, parked: 2, quarantined: 1 };
    let progress = Progress { confirmed: 10, counts, known: 0, bytes: 500 };
    subject.ready("old", "T", 0).await;
    subject.work_off(done(account(1000, 0))).await;
    subject.clock.advance(Duration::from_secs(25 * 3600));
    for key in ["a", "b"] {
        subject.ready(key, "T", 0).await;
    }
    subject.work_off(done(progress)).await;
    let day = subject.ledger.summary().await.unwrap().last_day;
    assert_eq!((day.deliveries, day.bytes), (2, 1000));
    assert_eq!(day.counts, Counts { read: 20, delivered: 8, filtered: 6, parked: 4, quarantined: 2 });
}

pub(crate) async fn a_daemon_is_alive_as_long_as_it_reports(subject: Subject) {
    let report = |instance: &str, mode: &str| DaemonReport {
        instance: instance.to_owned(),
        mode: mode.to_owned(),
        pid: 7,
        version: "1".to_owned(),
        started: subject.now(),
        parts: vec![
            Part {
                name: "feed eg".to_owned(),
                condition: Condition::Degraded { reason: "no route to host".to_owned() },
                since: START,
            },
            Part { name: "inbox".to_owned(), condition: Condition::Good { note: String::new() }, since: START },
            Part { name: "workers".to_owned(), condition: Condition::Starting, since: START },
        ],
    };
    let first = report("h/1", "listen");
    subject.ledger.report(first.clone()).await.unwrap();
    subject.ledger.report(report("h/2", "work")).await.unwrap();
    let daemons = subject.ledger.summary().await.unwrap().daemons;
    assert_eq!(daemons.len(), 2);
    assert_eq!((daemons[0].alive, &daemons[0].parts), (true, &first.parts));
    subject.clock.advance(ALIVE_FOR + Duration::from_secs(1));
    subject.ledger.report(report("h/3", "listen")).await.unwrap();
    let daemons = subject.ledger.summary().await.unwrap().daemons;
    let seen: Vec<_> = daemons.iter().map(|daemon| (daemon.instance.as_str(), daemon.alive)).collect();
    assert_eq!(seen, [("h/2", false), ("h/3", true)], "a successor takes down the dead of its own mode");
    subject.ledger.leave("h/3".to_owned()).await.unwrap();
    assert_eq!(subject.ledger.summary().await.unwrap().daemons.len(), 1);
}
