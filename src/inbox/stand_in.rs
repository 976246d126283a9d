//! For tests: an inbox that stands before another one and interferes with some of what it is asked. Not part of the
//! library: tests and benches elsewhere take in this file itself (`#[path]`).

use std::ops::Deref;

use async_trait::async_trait;
use longshore::clock::UnixMs;
use longshore::inbox::{
    ClaimKey, ClaimRequest, Claimed, DeliveryId, EntityKey, Fate, Finish, Forget, Inbox, InboxError, Lookup, Orphan,
    ParkRules, Plan, Progress, Receipt, Remarks, Tended,
};
use longshore::notice::{FeedName, HeardNotice, Notice, NoticeId, SinkName};

/// What is done in the place of an inbox; by itself, nothing.
#[async_trait]
pub trait Interferes: Send + Sync {
    /// The inbox that does the rest.
    fn behind(&self) -> &dyn Inbox;

    fn now(&self) -> UnixMs {
        self.behind().now()
    }

    async fn store(&self, batch: Vec<HeardNotice>) -> Result<Vec<Receipt>, InboxError> {
        self.behind().store(batch).await
    }

    async fn settled(&self, notices: Vec<NoticeId>, at: UnixMs) -> Result<(), InboxError> {
        self.behind().settled(notices, at).await
    }

    async fn unplanned(&self, limit: usize) -> Result<Vec<Notice>, InboxError> {
        self.behind().unplanned(limit).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, InboxError> {
        self.behind().claim(request).await
    }

    async fn finish(&self, key: ClaimKey, finish: Finish, remarks: Remarks) -> Result<(), InboxError> {
        self.behind().finish(key, finish, remarks).await
    }

    async fn changed(&self) {
        self.behind().changed().await;
    }
}

/// The inbox that it makes.
pub struct StandIn<T>(pub T);

impl<T> Deref for StandIn<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[async_trait]
impl<T: Interferes> Inbox for StandIn<T> {
    fn now(&self) -> UnixMs {
        self.0.now()
    }

    async fn store(&self, batch: Vec<HeardNotice>) -> Result<Vec<Receipt>, InboxError> {
        self.0.store(batch).await
    }

    async fn settled(&self, notices: Vec<NoticeId>, at: UnixMs) -> Result<(), InboxError> {
        self.0.settled(notices, at).await
    }

    async fn holds(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<bool>, InboxError> {
        self.0.behind().holds(feed, prefixes).await
    }

    async fn newest(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<Vec<(String, UnixMs)>>, InboxError> {
        self.0.behind().newest(feed, prefixes).await
    }

    async fn heard_events(
        &self,
        feed: FeedName,
        keys: Vec<EntityKey>,
        delivery: DeliveryId,
    ) -> Result<Vec<bool>, InboxError> {
        self.0.behind().heard_events(feed, keys, delivery).await
    }

    async fn mark(&self, feed: &FeedName) -> Result<Option<String>, InboxError> {
        self.0.behind().mark(feed).await
    }

    async fn set_mark(&self, feed: &FeedName, mark: String) -> Result<(), InboxError> {
        self.0.behind().set_mark(feed, mark).await
    }

    async fn oldest_unfinished(&self, feed: &FeedName) -> Result<Option<UnixMs>, InboxError> {
        self.0.behind().oldest_unfinished(feed).await
    }

    async fn unplanned(&self, limit: usize) -> Result<Vec<Notice>, InboxError> {
        self.0.unplanned(limit).await
    }

    async fn plan(&self, plans: Vec<Plan>) -> Result<(), InboxError> {
        self.0.behind().plan(plans).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, InboxError> {
        self.0.claim(request).await
    }

    async fn renew(&self, key: ClaimKey, until: UnixMs) -> Result<(), InboxError> {
        self.0.behind().renew(key, until).await
    }

    async fn progress(&self, key: ClaimKey, progress: Progress, remarks: Remarks) -> Result<(), InboxError> {
        self.0.behind().progress(key, progress, remarks).await
    }

    async fn finish(&self, key: ClaimKey, finish: Finish, remarks: Remarks) -> Result<(), InboxError> {
        self.0.finish(key, finish, remarks).await
    }

    async fn known(&self, sink: SinkName, lookups: Vec<Lookup>) -> Result<Vec<Vec<bool>>, InboxError> {
        self.0.behind().known(sink, lookups).await
    }

    async fn decided(&self, delivery: DeliveryId, first: u64, last: u64) -> Result<Vec<(u64, Fate)>, InboxError> {
        self.0.behind().decided(delivery, first, last).await
    }

    async fn park(&self, key: ClaimKey, rules: ParkRules, orphans: Vec<Orphan>) -> Result<Vec<Fate>, InboxError> {
        self.0.behind().park(key, rules, orphans).await
    }

    async fn forget_attempts(&self, key: ClaimKey, what: Forget) -> Result<bool, InboxError> {
        self.0.behind().forget_attempts(key, what).await
    }

    async fn tend(&self) -> Result<Tended, InboxError> {
        self.0.behind().tend().await
    }

    async fn changed(&self) {
        self.0.changed().await;
    }
}
