//! Random sequences of parking against what it promises: a few records, a few parents, and everything that can happen
//! to them in any order. At rest each record must be in exactly one place, whatever is parked must lack a parent, nothing
//! may have been delivered twice, and every account must say so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::Subject;
use super::orphans::{PARK_FOR, done, item, items, key, orphan, rules};
use crate::error::Class;
use crate::inbox::ledger::{AsideKind, AsideSelector, Decision, NoticeState, ParkedSelector, RunKind, Selector};
use crate::inbox::{Claim, EntityChanges, Fate, Finish, Forget, Remarks};
use crate::notice::NoticeId;
use crate::record::{BadRecord, Counts};

/// What may happen.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A file is read whose records have these parents.
    Read(Vec<Vec<u64>>),
    /// A delivery under way is cut off, and tried again.
    Retry(usize),
    /// It ends well.
    End(usize),
    /// It ends well, but for one of its records, which the sink refuses.
    EndRefusing(usize, usize),
    /// A record that was set aside is released.
    LetOn(usize),
    /// A record that was set aside is given up.
    Discard(usize),
    /// An item is confirmed, by a sink that only holds it for a while or not.
    Confirm(u64, bool),
    /// An item is deleted.
    Delete(u64),
    /// Parking does one step of its work.
    Tend,
    /// A woken notice is worked off.
    Woken,
    /// A woken notice fails for good, and is released.
    WokenFails,
    Release(u64),
    Replay(usize),
    Advance(u64),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
    let parents = prop::collection::vec(0..5u64, 1..3);
    let step = prop_oneof![
        6 => prop::collection::vec(parents, 1..5).prop_map(Step::Read),
        3 => which.clone().prop_map(Step::Retry),
        6 => which.clone().prop_map(Step::End),
        3 => (which.clone(), 0..4usize).prop_map(|(file, record)| Step::EndRefusing(file, record)),
        4 => which.clone().prop_map(Step::LetOn),
        1 => which.clone().prop_map(Step::Discard),
        5 => (0..5u64, any::<bool>()).prop_map(|(item, is_held)| Step::Confirm(item, is_held)),
        2 => (0..5u64).prop_map(Step::Delete),
        6 => Just(Step::Tend),
        5 => Just(Step::Woken),
        1 => Just(Step::WokenFails),
        1 => (0..5u64).prop_map(Step::Release),
        1 => which.prop_map(Step::Replay),
        1 => (0..3_000u64).prop_map(Step::Advance),
    ];
    prop::collection::vec(step, 1..50)
}

/// A file, and the delivery of it that is under way.
struct File {
    notice: NoticeId,
    parents: Vec<Vec<u64>>,
    claim: Option<Claim>,
    fates: Vec<Option<Fate>>,
    /// How often each record went to the sink, in the latest run.
    delivered: Vec<u64>,
}

struct Run {
    subject: Subject,
    files: Vec<File>,
    known: BTreeSet<u64>,
    named: u64,
}

/// Runs a sequence; panics where a promise is broken.
pub(crate) async fn run(subject: Subject, steps: Vec<Step>) {
    let mut run = Run { subject, files: Vec::new(), known: BTreeSet::new(), named: 0 };
    for step in steps {
        run.step(step).await;
    }
    run.come_to_rest().await;
    run.compare().await;
}

impl Run {
    async fn step(&mut self, step: Step) {
        let file = |which: usize| (!self.files.is_empty()).then(|| which % self.files.len());
        match step {
            Step::Read(parents) => self.read(parents).await,
            Step::Retry(which) => {
                if let Some(file) = file(which) {
                    self.retry(file).await;
                }
            }
            Step::End(which) => {
                if let Some(file) = file(which) {
                    self.end(file, None).await;
                }
            }
            Step::EndRefusing(which, record) => {
                if let Some(file) = file(which) {
                    self.end(file, Some(record)).await;
                }
            }
            Step::LetOn(which) => self.decide(which, RunKind::Release, Decision::GoOn).await,
            Step::Discard(which) => self.decide(which, RunKind::Discard, Decision::Discard).await,
            Step::Confirm(n, is_held) => {
                self.entity(Remarks { is_held, ..items(&[n]) }).await;
                if is_held {
                    // Until it is tended, it may be known or not.
                    self.tend_all().await;
                }
                self.known.insert(n);
            }
            Step::Delete(n) => {
                let gone = EntityChanges { entity: item(), known: Vec::new(), gone: vec![key(n)] };
                self.entity(Remarks { entities: vec![gone], ..Remarks::default() }).await;
                self.known.remove(&n);
            }
            Step::Tend => drop(self.subject.inbox.tend().await.unwrap()),
            Step::Woken => drop(self.work_woken().await),
            Step::WokenFails => self.fail_woken().await,
            Step::Release(n) => {
                let selector = ParkedSelector { missing: Some(format!("sku={n}")), ..ParkedSelector::default() };
                self.subject.ledger.release(selector, 0).await.unwrap();
            }
            Step::Replay(which) => {
                if let Some(file) = file(which) {
                    self.replay(file).await;
                }
            }
            Step::Advance(seconds) => {
                self.subject.clock.advance(Duration::from_secs(seconds));
                // What is under way is held on to.
                let until = self.subject.now().plus(super::LEASE);
                for claim in self.files.iter().filter_map(|file| file.claim.as_ref()) {
                    self.subject.inbox.renew(claim.key, until).await.unwrap();
                }
            }
        }
    }

    async fn entity(&mut self, remarks: Remarks) {
        self.named += 1;
        let (name, blob_type) = (format!("i{}", self.named), format!("Item{}", self.named));
        self.subject.ready(&name, &blob_type, 0).await;
        let claim = self.claim(|claim| claim.notice.metadata.blob_type == blob_type).await.expect("it is ready");
        self.subject.inbox.finish(claim.key, done(1, 0, 0), remarks).await.unwrap();
    }

    /// Claims what is wanted; whatever else comes up is given back.
    async fn claim(&self, is_wanted: impl Fn(&Claim) -> bool) -> Option<Claim> {
        let mut others = Vec::new();
        let mut wanted = None;
        while let Some(claim) = self.subject.claim().await {
            if is_wanted(&claim) {
                wanted = Some(claim);
                break;
            }
            others.push(claim);
        }
        for other in others {
            self.subject.finish(&other, Finish::Release).await;
        }
        wanted
    }

    async fn read(&mut self, parents: Vec<Vec<u64>>) {
        self.named += 1;
        let (name, blob_type) = (format!("c{}", self.named), format!("Price{}", self.named));
        let notice = self.subject.ready(&name, &blob_type, self.named as i64).await;
        let many = parents.len();
        self.files.push(File { notice, parents, claim: None, fates: vec![None; many], delivered: vec![0; many] });
        self.take_up(self.files.len() - 1).await;
    }

    /// Claims a file's delivery and decides about its records as a worker does: what earlier attempts withheld stays.
    async fn take_up(&mut self, file: usize) {
        let notice = self.files[file].notice;
        let claim = self.claim(|claim| claim.notice.id == notice).await.expect("it is ready");
        while claim.has_leftovers && self.subject.inbox.forget_attempts(claim.key, Forget::Staged).await.unwrap() {}
        let File { parents, fates, .. } = &mut self.files[file];
        let decided = self.subject.inbox.decided(claim.key.delivery, 1, parents.len() as u64).await.unwrap();
        let before: BTreeMap<u64, Fate> = decided.into_iter().collect();
        for (number, (parents, fate)) in (1..).zip(parents.iter().zip(fates.iter_mut())) {
            assert_eq!(before.get(&number) == Some(&Fate::Parked), *fate == Some(Fate::Parked), "a decision stands");
            if *fate == Some(Fate::Parked) {
                continue;
            }
            let answer = self.subject.inbox.park(claim.key, rules(), vec![orphan(number, parents)]).await.unwrap()[0];
            let is_known = parents.iter().all(|parent| self.known.contains(parent));
            assert_eq!(answer, if is_known { Fate::Deliverable } else { Fate::Parked });
            *fate = Some(answer);
        }
        self.files[file].claim = Some(claim);
    }

    async fn retry(&mut self, file: usize) {
        if let Some(claim) = self.files[file].claim.take() {
            self.subject.finish(&claim, self.subject.retry(Duration::ZERO)).await;
            self.take_up(file).await;
        }
    }

    async fn end(&mut self, file: usize, refusing: Option<usize>) {
        let File { claim, fates, delivered, .. } = &mut self.files[file];
        if let Some(claim) = claim.take() {
            let parked = fates.iter().filter(|fate| **fate == Some(Fate::Parked)).count() as u64;
            let mut bad = Vec::new();
            for (place, (fate, delivered)) in fates.iter().zip(delivered).enumerate() {
                if *fate == Some(Fate::Parked) {
                    continue;
                }
                if refusing == Some(place) {
                    let number = place as u64 + 1;
                    let bytes = orphan(number, &[]).body.to_vec();
                    let class = Class::Permanent;
                    bad.push(BadRecord { is_readable: true, bytes, class, ..super::bad(number) });
                } else {
                    *delivered += 1;
                }
            }
            let refused = bad.len() as u64;
            let finish = done(fates.len() as u64 - parked - refused, parked, refused);
            self.subject.inbox.finish(claim.key, finish, bad.into()).await.unwrap();
        }
    }

    /// Decides on one of the records that are set aside.
    async fn decide(&self, which: usize, kind: RunKind, decision: Decision) {
        let selector = AsideSelector { only: Some(AsideKind::Records), ..AsideSelector::default() };
        let all = self.subject.quarantine.set_aside(selector.clone(), None, 1_000, false).await.unwrap();
        if let Some(one) = (!all.is_empty()).then(|| all[which % all.len()].id) {
            let run = self.subject.quarantine.decide(kind, selector).await.unwrap();
            let did = self.subject.quarantine.decide_on(run, decision, vec![one]).await.unwrap();
            assert_eq!(did.records + did.unsettled + did.not_alone, 1, "{did:?}");
        }
    }

    /// Works off a woken notice as a worker does; returns whether there was one.
    async fn work_woken(&mut self) -> bool {
        let Some(claim) = self.claim(|claim| claim.woken.is_some()).await else {
            return false;
        };
        let woken = claim.woken.unwrap();
        let body = claim.notice.body.clone().unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        let numbers: Vec<u64> =
            body.lines().map(|line| line[10..line.len() - 1].parse().expect("a record of this test")).collect();
        let file = self.files.iter_mut().find(|file| file.notice == woken.origin).expect("it was read");
        let mut counts = Counts { read: numbers.len() as u64, ..Counts::default() };
        for (place, number) in (1..).zip(numbers) {
            let parents = &file.parents[number as usize - 1];
            let orphan = crate::inbox::Orphan { number: place, ..orphan(number, parents) };
            if woken.is_replaced {
                counts.filtered += 1;
            } else if !woken.is_released
                && self.subject.inbox.park(claim.key, rules(), vec![orphan]).await.unwrap() == [Fate::Parked]
            {
                counts.parked += 1;
            } else {
                counts.delivered += 1;
                file.delivered[number as usize - 1] += 1;
            }
        }
        let mut finish = done(0, 0, 0);
        if let Finish::Done { progress, .. } = &mut finish {
            (progress.counts, progress.confirmed) = (counts, counts.read);
        }
        self.subject.finish(&claim, finish).await;
        true
    }

    async fn fail_woken(&mut self) {
        if let Some(claim) = self.claim(|claim| claim.woken.is_some()).await {
            self.subject.finish(&claim, self.subject.quarantine()).await;
            self.subject.replay(Selector { ids: vec![claim.notice.id], ..Selector::default() }, &[]).await;
        }
    }

    async fn replay(&mut self, file: usize) {
        let File { notice, claim, fates, delivered, .. } = &mut self.files[file];
        if claim.is_some() {
            return;
        }
        let notice = *notice;
        fates.fill(None);
        delivered.fill(0);
        assert_eq!(self.subject.replay(Selector { ids: vec![notice], ..Selector::default() }, &[]).await.1, 1);
        self.subject.plan_all().await;
        self.take_up(file).await;
    }

    async fn tend_all(&self) {
        while self.subject.inbox.tend().await.unwrap().more {}
    }

    async fn come_to_rest(&mut self) {
        for file in 0..self.files.len() {
            self.end(file, None).await;
        }
        loop {
            self.tend_all().await;
            if !self.work_woken().await {
                break;
            }
        }
        assert_eq!(self.subject.nothing().await, (None, false));
    }

    async fn compare(&self) {
        let lines = self.subject.ledger.parked(ParkedSelector::default()).await.unwrap();
        let parked: BTreeSet<(NoticeId, u64)> = lines.iter().map(|line| (line.notice, line.number)).collect();
        assert_eq!(parked.len(), lines.len(), "no record is parked twice");
        for line in &lines {
            assert!(line.deadline > self.subject.now() && line.since.plus(PARK_FOR) == line.deadline);
        }
        for file in &self.files {
            let story = self.subject.story(file.notice).await;
            assert_eq!(story.state, NoticeState::Finished);
            let counts = story.deliveries.last().unwrap().progress.counts;
            let (mut waiting, mut delivered) = (0, 0);
            for (number, parents) in (1..).zip(&file.parents) {
                let is_parked = parked.contains(&(file.notice, number));
                let times = file.delivered[number as usize - 1];
                assert!(times + u64::from(is_parked) <= 1, "record {number} of {} is in one place", file.notice);
                assert!(!is_parked || parents.iter().any(|n| !self.known.contains(n)), "it waits for nothing");
                (waiting, delivered) = (waiting + u64::from(is_parked), delivered + times);
            }
            let quarantined = file.parents.len() as u64 - waiting - delivered;
            let expected =
                Counts { read: file.parents.len() as u64, delivered, parked: waiting, quarantined, filtered: 0 };
            assert_eq!(counts, expected);
            assert_eq!(story.deliveries.last().unwrap().bad_records, quarantined);
        }
        assert_eq!(self.subject.ledger.summary().await.unwrap().parked.records, lines.len() as u64);
        assert_eq!(self.subject.findings().await, []);
    }
}
