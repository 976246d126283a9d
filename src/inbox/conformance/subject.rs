//! The inbox that a case is about, and what cases share.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{ManualClock, UnixMs};
use crate::inbox::ledger::{Audit, Finding, Ledger, NoticeState, Quarantine, Selector, Story};
use crate::inbox::{
    Claim, ClaimRequest, Claimed, Finish, Inbox, OnPoison, Ordering, Plan, Progress, Remarks, RunId, SharedInbox,
    Target,
};
use crate::notice::{FeedName, HeardNotice, Metadata, NoticeId, RouteName, SinkName, Verdict};
use crate::record::{BadRecord, Counts};

/// A fresh inbox, and what must live as long as it.
pub(crate) struct Subject {
    pub(crate) inbox: SharedInbox,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) quarantine: Arc<dyn Quarantine>,
    pub(crate) audit: Arc<dyn Audit>,
    pub(crate) clock: ManualClock,
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// When every test begins.
pub(crate) const START: UnixMs = UnixMs(1_700_000_000_000);

/// The lease that [`Subject::claim`] asks for.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// A notice of feed `eg`, published `published` milliseconds after [`START`].
pub(crate) fn heard(key: &str, blob_type: &str, published: i64) -> HeardNotice {
    HeardNotice {
        feed: FeedName::new("eg"),
        dedupe_key: key.to_owned(),
        metadata: Metadata { blob_type: blob_type.to_owned(), ..Metadata::default() },
        body: None,
        published: UnixMs(START.0 + published),
        sequence: 0,
        delivery_count: 0,
        verdict: Verdict::Accepted,
    }
}

/// A target.
pub(crate) fn target(route: &str, sink: &str) -> Target {
    Target { route: RouteName::new(route), sink: SinkName::new(sink) }
}

/// A progress whose account is `delivered` and `quarantined` records, and adds up.
pub(crate) fn account(delivered: u64, quarantined: u64) -> Progress {
    let read = delivered + quarantined;
    Progress {
        confirmed: read,
        counts: Counts { read, delivered, quarantined, ..Counts::default() },
        known: 0,
        bytes: read * 10,
    }
}

/// A record that was set aside.
pub(crate) fn bad(number: u64) -> BadRecord {
    BadRecord {
        number,
        offset: number * 10,
        reason: "not JSON".to_owned(),
        class: crate::error::Class::Poison,
        is_readable: false,
        is_cut: false,
        blob_type: None,
        bytes: b"{".to_vec(),
    }
}

/// A claim ends well.
pub(crate) fn done(progress: Progress) -> Finish {
    Finish::Done { progress, location: "/out/file".to_owned() }
}

impl Subject {
    pub(crate) fn now(&self) -> UnixMs {
        self.inbox.now()
    }

    /// Stores one notice.
    pub(crate) async fn store(&self, notice: HeardNotice) -> NoticeId {
        self.inbox.store(vec![notice]).await.expect("stores")[0].notice()
    }

    /// Stores one notice and plans it for route `r` and sink `s`.
    pub(crate) async fn ready(&self, key: &str, blob_type: &str, published: i64) -> NoticeId {
        let notice = self.store(heard(key, blob_type, published)).await;
        self.plan(notice, vec![target("r", "s")]).await;
        notice
    }

    pub(crate) async fn plan(&self, notice: NoticeId, targets: Vec<Target>) {
        let plan = Plan { notice, targets, skip_reason: "no route takes it".to_owned() };
        self.inbox.plan(vec![plan]).await.expect("plans");
    }

    pub(crate) fn request(&self, ordering: Ordering, per_blob_type_max: usize) -> ClaimRequest {
        ClaimRequest {
            worker: "w".to_owned(),
            lease: LEASE,
            now: self.now(),
            ordering,
            on_poison: OnPoison::Quarantine,
            per_blob_type_max,
        }
    }

    /// Claims under [`Ordering::BlobType`].
    pub(crate) async fn claim(&self) -> Option<Claim> {
        self.claim_with(self.request(Ordering::BlobType, 100)).await
    }

    pub(crate) async fn claim_with(&self, request: ClaimRequest) -> Option<Claim> {
        match self.inbox.claim(request).await.expect("claims") {
            Claimed::Delivery(claim) => Some(*claim),
            Claimed::Nothing { .. } => None,
        }
    }

    /// Claims, and asserts that there was something.
    pub(crate) async fn must_claim(&self) -> Claim {
        self.claim().await.expect("something is claimable")
    }

    /// What an empty claim says: when to ask again, and whether anything is unfinished.
    pub(crate) async fn nothing(&self) -> (Option<UnixMs>, bool) {
        match self.inbox.claim(self.request(Ordering::BlobType, 100)).await.expect("claims") {
            Claimed::Nothing { next_due, unfinished, .. } => (next_due, unfinished),
            Claimed::Delivery(claim) => panic!("notice {} is claimable", claim.notice.id),
        }
    }

    pub(crate) async fn finish(&self, claim: &Claim, finish: Finish) {
        self.inbox.finish(claim.key, finish, Remarks::default()).await.expect("finishes");
    }

    /// Tries again after `wait`.
    pub(crate) fn retry(&self, wait: Duration) -> Finish {
        Finish::Retry {
            due: self.now().plus(wait),
            class: crate::error::Class::Transient,
            error: "reset".to_owned(),
            uses_attempt: true,
            has_progressed: false,
        }
    }

    pub(crate) fn quarantine(&self) -> Finish {
        Finish::Quarantine { class: crate::error::Class::Poison, error: "truncated".to_owned() }
    }

    /// Claims whatever is claimable and ends it with `finish`; the notices in that order.
    pub(crate) async fn work_off(&self, finish: Finish) -> Vec<NoticeId> {
        let mut worked = Vec::new();
        while let Some(claim) = self.claim().await {
            self.finish(&claim, finish.clone()).await;
            worked.push(claim.notice.id);
        }
        worked
    }

    /// Plans whatever is unplanned for route `r` and sink `s`.
    pub(crate) async fn plan_all(&self) {
        for notice in self.inbox.unplanned(1000).await.expect("reads") {
            self.plan(notice.id, vec![target("r", "s")]).await;
        }
    }

    pub(crate) async fn story(&self, notice: NoticeId) -> Story {
        self.ledger.story(notice).await.expect("reads").expect("there is such a notice")
    }

    /// Everything that does not add up.
    pub(crate) async fn findings(&self) -> Vec<Finding> {
        let (mut findings, mut after) = (Vec::new(), None);
        loop {
            // Steps of three, so that every case goes over their edges.
            let step = self.audit.audit(after, 3).await.expect("reads");
            if step.last.is_none() {
                return findings;
            }
            after = step.last;
            findings.extend(step.findings);
        }
    }

    pub(crate) async fn state(&self, notice: NoticeId) -> NoticeState {
        self.story(notice).await.state
    }

    /// Replays everything that is selected; how many notices that was.
    pub(crate) async fn replay(&self, selector: Selector, to: &[&str]) -> (RunId, u64) {
        let to = to.iter().map(RouteName::new).collect();
        let mut replay = self.ledger.replay_start(selector, to).await.expect("starts");
        let mut sent = 0;
        loop {
            let step = self.ledger.replay_more(&mut replay, 3).await.expect("replays");
            sent += step.sent;
            if step.finished {
                return (replay.run, sent);
            }
        }
    }

    pub(crate) fn shared(&self) -> Arc<dyn Inbox> {
        Arc::clone(&self.inbox)
    }
}
