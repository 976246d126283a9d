//! Records without their parents, and what the cases about them share.

use std::time::Duration;

use bytes::Bytes;

use super::Subject;
use crate::inbox::ledger::{DeliveryStory, ParkedSelector};
use crate::inbox::{
    AtDeadline, Claim, EntityChanges, EntityKey, Fate, Finish, Lookup, Orphan, ParkRules, Progress, Reference, Remarks,
    Tended,
};
use crate::notice::{EntityName, NoticeId, SinkName};
use crate::record::Counts;

pub(super) const PARK_FOR: Duration = Duration::from_secs(3_600);

pub(super) fn key(n: u64) -> EntityKey {
    EntityKey::of(&mut Vec::new(), "sku", [n.to_string().as_str()])
}

pub(super) fn item() -> EntityName {
    EntityName::new("item")
}

pub(super) fn rules() -> ParkRules {
    ParkRules { parks: true, park_for: PARK_FOR, at_deadline: AtDeadline::Quarantine, latest_only: false }
}

pub(super) fn latest_only() -> ParkRules {
    ParkRules { latest_only: true, ..rules() }
}

/// The record `number`, which refers to every one of these items.
pub(super) fn orphan(number: u64, parents: &[u64]) -> Orphan {
    Orphan {
        blob_type: None,
        number,
        offset: number * 10,
        body: Bytes::from(format!("{{\"record\":{number}}}")),
        missing: parents.iter().map(|n| Reference { entity: item(), keys: vec![key(*n)] }).collect(),
        says: parents.iter().map(|n| format!("item sku={n}")).collect::<Vec<_>>().join(" and "),
        own: None,
    }
}

/// What confirmed records say: these items are there.
pub(super) fn items(known: &[u64]) -> Remarks {
    let known = known.iter().map(|n| key(*n)).collect();
    Remarks { entities: vec![EntityChanges { entity: item(), known, gone: Vec::new() }], ..Remarks::default() }
}

pub(super) fn gone(keys: &[u64]) -> Remarks {
    let gone = keys.iter().map(|n| key(*n)).collect();
    Remarks { entities: vec![EntityChanges { entity: item(), known: Vec::new(), gone }], ..Remarks::default() }
}

pub(super) fn done(delivered: u64, parked: u64, quarantined: u64) -> Finish {
    let read = delivered + parked + quarantined;
    let counts = Counts { read, delivered, parked, quarantined, ..Counts::default() };
    let progress = Progress { confirmed: read, counts, known: 0, bytes: read * 10 };
    Finish::Done { progress, location: "/out/file".to_owned() }
}

/// As if there were records in between that are not in the account.
pub(super) fn up_to(last: u64, mut finish: Finish) -> Finish {
    if let Finish::Done { progress, .. } = &mut finish {
        progress.confirmed = last;
    }
    finish
}

impl Subject {
    /// A notice of blob type `Price` that has been read: these of its records are parked, and none else is in it.
    pub(super) async fn parked(&self, name: &str, published: i64, orphans: Vec<Orphan>) -> NoticeId {
        self.parked_as(name, published, rules(), orphans).await
    }

    pub(super) async fn parked_as(
        &self,
        name: &str,
        published: i64,
        rules: ParkRules,
        orphans: Vec<Orphan>,
    ) -> NoticeId {
        let notice = self.ready(name, "Price", published).await;
        let claim = self.must_claim().await;
        assert_eq!(claim.notice.id, notice);
        self.park_all(&claim, rules, orphans).await;
        notice
    }

    async fn park_all(&self, claim: &Claim, rules: ParkRules, orphans: Vec<Orphan>) {
        let many = orphans.len() as u64;
        let last = orphans.iter().map(|orphan| orphan.number).max().unwrap_or(0);
        let fates = self.inbox.park(claim.key, rules, orphans).await.expect("parks");
        assert!(fates.iter().all(|fate| *fate == Fate::Parked), "{fates:?}");
        self.finish(claim, up_to(last, done(0, many, 0))).await;
    }

    /// A notice of blob type `Item` whose records are confirmed: these items are known.
    pub(super) async fn parents(&self, name: &str, known: &[u64]) {
        self.ready(name, "Item", 1_000).await;
        let claim = self.must_claim().await;
        assert_eq!(claim.notice.metadata.blob_type, "Item");
        self.inbox.finish(claim.key, done(known.len() as u64, 0, 0), items(known)).await.expect("finishes");
    }

    /// Tends until there is nothing to do; what was done in all.
    pub(super) async fn tend(&self) -> Tended {
        let mut all = Tended::default();
        loop {
            let step = self.inbox.tend().await.expect("tends");
            all.woken += step.woken;
            all.notices += step.notices;
            all.replaced += step.replaced;
            all.expired += step.expired;
            all.crowded_out += step.crowded_out;
            all.next_deadline = step.next_deadline;
            if !step.more {
                assert_eq!(self.findings().await, []);
                return all;
            }
        }
    }

    pub(super) async fn is_known(&self, n: u64) -> bool {
        let lookup = Lookup { entity: item(), keys: vec![key(n)] };
        self.inbox.known(SinkName::new("s"), vec![lookup]).await.expect("reads")[0][0]
    }

    /// The account of the notice's latest delivery.
    pub(super) async fn counts(&self, notice: NoticeId) -> Counts {
        self.delivery(notice).await.progress.counts
    }

    pub(super) async fn delivery(&self, notice: NoticeId) -> DeliveryStory {
        self.story(notice).await.deliveries.pop().expect("it has a delivery")
    }

    pub(super) async fn waiting(&self) -> usize {
        self.ledger.parked(ParkedSelector::default()).await.expect("reads").len()
    }

    /// Claims a woken notice that carries these records.
    pub(super) async fn must_claim_woken(&self, from: NoticeId, body: &str) -> Claim {
        let claim = self.must_claim().await;
        let woken = claim.woken.expect("a woken notice");
        assert_eq!((woken.origin, woken.is_replaced), (from, false));
        assert_eq!(claim.notice.body.as_deref(), Some(body.as_bytes()));
        assert_eq!(claim.notice.metadata.content_type.as_deref(), Some("application/x-jsonlines"));
        claim
    }
}

pub(super) fn counts(delivered: u64, filtered: u64, parked: u64, quarantined: u64) -> Counts {
    Counts { read: delivered + filtered + parked + quarantined, delivered, filtered, parked, quarantined }
}
