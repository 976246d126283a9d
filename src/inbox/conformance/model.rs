//! Random sequences against a model: everything that the contract says about claims, in a few plain loops over
//! vectors. The inbox must give out exactly the delivery that the model gives out, refuse what it refuses, and end in
//! the states in which it ends.

use std::time::Duration;

use proptest::prelude::*;

use super::{LEASE, START, Subject, account, bad, done, heard, target};
use crate::clock::{Clock, UnixMs};
use crate::error::Class;
use crate::inbox::ledger::{DeliveryState, NoticeState, Retention, Selector};
use crate::inbox::{ClaimKey, Claimed, Finish, InboxError, Ordering, Remarks, RunId, Target};
use crate::notice::{NoticeId, Verdict};

/// What may happen.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Store {
        key: u8,
        blob_type: u8,
        published: i64,
        verdict: u8,
    },
    Plan {
        targets: u8,
    },
    Claim {
        is_ordered: bool,
        per_blob_type_max: usize,
    },
    /// The following name one of the claims so far, also lost and ended ones.
    Renew(usize),
    Progress(usize, u64),
    Done(usize, u64, u64),
    Retry(usize, u64, bool),
    Quarantine(usize),
    Release(usize),
    Advance(u64),
    /// The machine's clock is set by so many seconds.
    Jump(i64),
    Replay {
        states: u8,
    },
    Prune {
        age_seconds: u64,
    },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
    let step = prop_oneof![
        6 => (0..12u8, 0..4u8, 0..20i64, 0..10u8)
            .prop_map(|(key, blob_type, published, verdict)| Step::Store { key, blob_type, published, verdict }),
        5 => (0..4u8).prop_map(|targets| Step::Plan { targets }),
        8 => (any::<bool>(), 1..4usize)
            .prop_map(|(is_ordered, per_blob_type_max)| Step::Claim { is_ordered, per_blob_type_max }),
        1 => which.clone().prop_map(Step::Renew),
        2 => (which.clone(), 0..50u64).prop_map(|(which, confirmed)| Step::Progress(which, confirmed)),
        4 => (which.clone(), 0..50u64, 0..2u64).prop_map(|(which, good, bad)| Step::Done(which, good, bad)),
        3 => (which.clone(), 0..90u64, any::<bool>()).prop_map(|(which, wait, uses)| Step::Retry(which, wait, uses)),
        1 => which.clone().prop_map(Step::Quarantine),
        1 => which.prop_map(Step::Release),
        4 => (0..80u64).prop_map(Step::Advance),
        1 => (-90_000..90_000i64).prop_map(Step::Jump),
        2 => (1..8u8).prop_map(|states| Step::Replay { states }),
        1 => (0..300u64).prop_map(|age_seconds| Step::Prune { age_seconds }),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Clone, Debug)]
struct ModelNotice {
    id: NoticeId,
    key: String,
    blob_type: String,
    published: i64,
    state: NoticeState,
    is_unreadable: bool,
    run: RunId,
    ended: UnixMs,
    is_pruned: bool,
}

#[derive(Clone, Debug)]
struct ModelDelivery {
    notice: usize,
    target: Target,
    run: RunId,
    state: DeliveryState,
    due: UnixMs,
    lease_until: UnixMs,
    claim: i64,
    attempts: u64,
    lost: u64,
    withheld: u64,
    confirmed: u64,
    is_replaced: bool,
}

/// A fresh inbox and its model.
struct Run {
    subject: Subject,
    notices: Vec<ModelNotice>,
    deliveries: Vec<ModelDelivery>,
    /// Every claim there was: its key, and the delivery in the model.
    claims: Vec<(ClaimKey, usize)>,
}

/// Runs a sequence; panics where the inbox and the model part.
pub(crate) async fn run(subject: Subject, steps: Vec<Step>) {
    let mut run = Run { subject, notices: Vec::new(), deliveries: Vec::new(), claims: Vec::new() };
    for step in steps {
        run.step(step).await;
    }
    run.compare().await;
}

impl Run {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Store { key, blob_type, published, verdict } => self.store(key, blob_type, published, verdict).await,
            Step::Plan { targets } => self.plan(targets).await,
            Step::Claim { is_ordered, per_blob_type_max } => {
                let ordering = if is_ordered { Ordering::BlobType } else { Ordering::None };
                self.claim(ordering, per_blob_type_max).await;
            }
            Step::Advance(seconds) => self.subject.clock.advance(Duration::from_secs(seconds)),
            Step::Jump(seconds) => {
                let clock = &self.subject.clock;
                clock.set(UnixMs(Clock::now(clock).0 + seconds * 1_000));
            }
            Step::Replay { states } => self.replay(states).await,
            Step::Prune { age_seconds } => self.prune(Duration::from_secs(age_seconds)).await,
            Step::Renew(which) => {
                let until = self.subject.now().plus(LEASE);
                if let Some((key, held)) = self.pick(which) {
                    let result = self.subject.inbox.renew(key, until).await;
                    if let Some(delivery) = self.check(key, held, result) {
                        delivery.lease_until = until;
                    }
                }
            }
            Step::Progress(which, confirmed) => {
                if let Some((key, held)) = self.pick(which) {
                    let result = self.subject.inbox.progress(key, account(confirmed, 0), Remarks::default()).await;
                    if let Some(delivery) = self.check(key, held, result) {
                        (delivery.confirmed, delivery.withheld) = (confirmed, 0);
                    }
                }
            }
            Step::Done(which, good, bad) => {
                let finish = done(account(good, bad));
                if let Some(delivery) = self.finish(which, finish, DeliveryState::Done).await {
                    delivery.attempts += 1;
                    (delivery.confirmed, delivery.withheld) = (good + bad, bad);
                }
                self.settle();
            }
            Step::Retry(which, wait, uses_attempt) => {
                let due = self.subject.now().plus(Duration::from_secs(wait));
                let finish = Finish::Retry {
                    due,
                    class: Class::Transient,
                    error: "reset".to_owned(),
                    uses_attempt,
                    has_progressed: false,
                };
                if let Some(delivery) = self.finish(which, finish, DeliveryState::Ready).await {
                    delivery.attempts += u64::from(uses_attempt);
                    delivery.due = due;
                }
            }
            Step::Quarantine(which) => {
                let finish = self.subject.quarantine();
                if let Some(delivery) = self.finish(which, finish, DeliveryState::Quarantined).await {
                    delivery.attempts += 1;
                }
                self.settle();
            }
            Step::Release(which) => {
                self.finish(which, Finish::Release, DeliveryState::Ready).await;
            }
        }
    }

    fn pick(&self, which: usize) -> Option<(ClaimKey, usize)> {
        (!self.claims.is_empty()).then(|| self.claims[which % self.claims.len()])
    }

    /// A write must succeed exactly if its claim is the delivery's latest one and that has not ended.
    fn check(&mut self, key: ClaimKey, held: usize, result: Result<(), InboxError>) -> Option<&mut ModelDelivery> {
        let delivery = &mut self.deliveries[held];
        let is_held = delivery.state == DeliveryState::Claimed && delivery.claim == key.claim;
        match result {
            Ok(()) => assert!(is_held, "a lost claim wrote"),
            Err(InboxError::LeaseLost(lost)) => assert!(!is_held && lost == key, "a claim in force was refused"),
            Err(error) => panic!("{error}"),
        }
        is_held.then_some(delivery)
    }

    async fn finish(&mut self, which: usize, finish: Finish, state: DeliveryState) -> Option<&mut ModelDelivery> {
        let (key, held) = self.pick(which)?;
        let bad: Vec<_> = match &finish {
            Finish::Done { progress, .. } => (1..=progress.counts.quarantined).map(bad).collect(),
            _ => Vec::new(),
        };
        let result = self.subject.inbox.finish(key, finish, bad.into()).await;
        let delivery = self.check(key, held, result)?;
        delivery.state = state;
        delivery.due = UnixMs(0);
        Some(delivery)
    }

    async fn store(&mut self, key: u8, blob_type: u8, published: i64, verdict: u8) {
        let blob_type = ["A", "a", "B", "C"][usize::from(blob_type)];
        let mut notice = heard(&key.to_string(), blob_type, published);
        let (verdict, state) = match verdict {
            0 => (Verdict::Skipped("excluded".to_owned()), NoticeState::Skipped),
            1 => (Verdict::Unreadable("not JSON".to_owned()), NoticeState::Quarantined),
            _ => (Verdict::Accepted, NoticeState::Heard),
        };
        let is_unreadable = matches!(verdict, Verdict::Unreadable(_));
        notice.verdict = verdict;
        let receipt = self.subject.inbox.store(vec![notice]).await.unwrap().remove(0);
        match self.notices.iter().find(|notice| notice.key == key.to_string() && !notice.is_pruned) {
            Some(first) => assert_eq!((receipt.notice(), receipt.is_duplicate()), (first.id, true)),
            None => {
                assert!(!receipt.is_duplicate());
                assert!(self.notices.iter().all(|notice| notice.id < receipt.notice()), "numbers only grow");
                self.notices.push(ModelNotice {
                    id: receipt.notice(),
                    key: key.to_string(),
                    blob_type: blob_type.to_lowercase(),
                    published: START.0 + published,
                    state,
                    is_unreadable,
                    run: RunId(0),
                    ended: self.subject.now(),
                    is_pruned: false,
                });
            }
        }
    }

    /// Plans the oldest notice that has no plan.
    async fn plan(&mut self, targets: u8) {
        let unplanned = self.subject.inbox.unplanned(1).await.unwrap();
        let expected = self.notices.iter().position(|notice| notice.state == NoticeState::Heard && !notice.is_pruned);
        assert_eq!(unplanned.first().map(|notice| notice.id), expected.map(|index| self.notices[index].id));
        let Some(index) = expected else { return };
        let targets: Vec<_> =
            [target("r", "s"), target("q", "t")].into_iter().take(usize::from(targets.min(2))).collect();
        self.subject.plan(self.notices[index].id, targets.clone()).await;
        let (now, notice) = (self.subject.now(), &mut self.notices[index]);
        notice.ended = now;
        notice.state = if targets.is_empty() { NoticeState::Skipped } else { NoticeState::Open };
        let run = notice.run;
        self.deliveries.extend(targets.into_iter().map(|target| ModelDelivery {
            notice: index,
            target,
            run,
            state: DeliveryState::Ready,
            due: UnixMs(0),
            lease_until: UnixMs(0),
            claim: 0,
            attempts: 0,
            lost: 0,
            withheld: 0,
            confirmed: 0,
            is_replaced: false,
        }));
    }

    async fn claim(&mut self, ordering: Ordering, per_blob_type_max: usize) {
        let now = self.subject.now();
        let expected = self.next(ordering, per_blob_type_max, now);
        match self.subject.inbox.claim(self.subject.request(ordering, per_blob_type_max)).await.unwrap() {
            Claimed::Nothing { unfinished, .. } => {
                assert_eq!(expected, None, "the inbox gave out nothing");
                let is_unfinished = self
                    .notices
                    .iter()
                    .any(|notice| !notice.is_pruned && matches!(notice.state, NoticeState::Heard | NoticeState::Open));
                assert_eq!(unfinished, is_unfinished);
            }
            Claimed::Delivery(claim) => {
                let index = expected.expect("the inbox gave out what is not to be had");
                let delivery = &mut self.deliveries[index];
                delivery.lost += u64::from(delivery.state == DeliveryState::Claimed);
                delivery.state = DeliveryState::Claimed;
                delivery.claim += 1;
                delivery.lease_until = now.plus(LEASE);
                assert_eq!(
                    (claim.notice.id, &claim.target, claim.run, claim.key.claim),
                    (self.notices[delivery.notice].id, &delivery.target, delivery.run, delivery.claim)
                );
                assert_eq!(
                    (u64::from(claim.attempt), u64::from(claim.lost), claim.progress.confirmed),
                    (delivery.attempts + 1, delivery.lost, delivery.confirmed)
                );
                self.claims.push((claim.key, index));
            }
        }
    }

    /// Which delivery is next, by the words of the contract.
    fn next(&self, ordering: Ordering, per_blob_type_max: usize, now: UnixMs) -> Option<usize> {
        let notice = |delivery: &ModelDelivery| &self.notices[delivery.notice];
        let lane = |delivery: &ModelDelivery| (delivery.target.clone(), notice(delivery).blob_type.clone());
        let order = |delivery: &ModelDelivery| (notice(delivery).published, notice(delivery).id);
        let is_held = |delivery: &ModelDelivery| delivery.state == DeliveryState::Claimed && delivery.lease_until > now;
        let is_unfinished =
            |delivery: &ModelDelivery| matches!(delivery.state, DeliveryState::Ready | DeliveryState::Claimed);
        let mut best: Option<usize> = None;
        for (index, delivery) in self.deliveries.iter().enumerate() {
            if !is_unfinished(delivery) || is_held(delivery) || delivery.due > now {
                continue;
            }
            let same_type =
                |other: &&ModelDelivery| is_held(other) && notice(other).blob_type == notice(delivery).blob_type;
            if self.deliveries.iter().filter(same_type).count() >= per_blob_type_max {
                continue;
            }
            let stands_in_the_way = |other: &ModelDelivery| {
                lane(other) == lane(delivery)
                    && (is_held(other) || (is_unfinished(other) && order(other) < order(delivery)))
            };
            if ordering == Ordering::BlobType && self.deliveries.iter().any(stands_in_the_way) {
                continue;
            }
            // The route decides between deliveries of one notice in no stated way; the lane made first goes first.
            if best.is_none_or(|best| order(delivery) < order(&self.deliveries[best])) {
                best = Some(index);
            }
        }
        best
    }

    /// Gives open notices the state that their deliveries make.
    fn settle(&mut self) {
        let now = self.subject.now();
        for (index, notice) in self.notices.iter_mut().enumerate() {
            let current: Vec<_> =
                self.deliveries.iter().filter(|delivery| delivery.notice == index && !delivery.is_replaced).collect();
            if notice.state != NoticeState::Open
                || current
                    .iter()
                    .any(|delivery| matches!(delivery.state, DeliveryState::Ready | DeliveryState::Claimed))
            {
                continue;
            }
            let is_quarantined = current.iter().any(|delivery| delivery.state == DeliveryState::Quarantined);
            notice.state = if is_quarantined { NoticeState::Quarantined } else { NoticeState::Finished };
            notice.ended = now;
        }
    }

    async fn replay(&mut self, states: u8) {
        let all = [NoticeState::Finished, NoticeState::Skipped, NoticeState::Quarantined];
        let states: Vec<_> = (0..3).filter(|bit| states & (1 << bit) != 0).map(|bit| all[bit]).collect();
        let selector = Selector { states: states.clone(), ..Selector::default() };
        let (run, sent) = self.subject.replay(selector, &[]).await;
        let mut expected = 0;
        for (index, notice) in self.notices.iter_mut().enumerate() {
            if notice.is_pruned || notice.is_unreadable || !states.contains(&notice.state) {
                continue;
            }
            (notice.state, notice.run) = (NoticeState::Heard, run);
            expected += 1;
            for delivery in self.deliveries.iter_mut().filter(|delivery| delivery.notice == index) {
                delivery.is_replaced = true;
            }
        }
        assert_eq!(sent, expected);
    }

    async fn prune(&mut self, age: Duration) {
        let now = self.subject.now();
        let pruned = self.subject.ledger.prune(Retention { age, bytes: None, keys: Duration::ZERO }).await.unwrap();
        let mut expected = 0;
        for (index, notice) in self.notices.iter_mut().enumerate() {
            let is_kept = self
                .deliveries
                .iter()
                .any(|delivery| delivery.notice == index && !delivery.is_replaced && delivery.withheld > 0);
            let is_ended = matches!(notice.state, NoticeState::Finished | NoticeState::Skipped);
            if !notice.is_pruned && is_ended && !is_kept && notice.ended < now.minus(age) {
                notice.is_pruned = true;
                expected += 1;
            }
        }
        assert_eq!(pruned.notices, expected);
    }

    async fn compare(&self) {
        let lines = self.subject.ledger.notices(Selector::default()).await.unwrap();
        let found: Vec<_> = lines.iter().rev().map(|line| (line.id, line.state)).collect();
        let expected: Vec<_> =
            self.notices.iter().filter(|notice| !notice.is_pruned).map(|notice| (notice.id, notice.state)).collect();
        assert_eq!(found, expected);
        for (index, notice) in self.notices.iter().enumerate().filter(|(_, notice)| !notice.is_pruned) {
            let story = self.subject.story(notice.id).await;
            let found: Vec<_> = story
                .deliveries
                .iter()
                .map(|delivery| (delivery.run, delivery.state, delivery.attempts, delivery.lost))
                .collect();
            let expected: Vec<_> = self
                .deliveries
                .iter()
                .filter(|delivery| delivery.notice == index)
                .map(|delivery| (delivery.run, delivery.state, delivery.attempts, delivery.lost))
                .collect();
            assert_eq!(found, expected);
        }
        assert_eq!(self.subject.ledger.summary().await.unwrap().unbalanced, 0);
        assert_eq!(self.subject.findings().await, []);
    }
}
