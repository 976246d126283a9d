//! An inbox that can be watched, and made to wait or to fail.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use longshore::clock::{SystemClock, UnixMs};
use longshore::inbox::{
    ClaimKey, ClaimRequest, Claimed, DeliveryId, EntityKey, Fate, Finish, Forget, Inbox, InboxError, InboxSettings,
    Lookup, Orphan, ParkRules, Plan, Progress, Receipt, Remarks, SqliteInbox, Tended,
};
use longshore::notice::{FeedName, HeardNotice, Notice, NoticeId, SinkName};
use tokio::sync::watch;

use crate::common::wait::in_time;

/// What an inbox was asked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `store` was called with so many notices.
    Store(usize),
    /// `store` returned, and had stored or found so many.
    Stored(usize),
    /// `settled` was called with so many.
    Settled(usize),
}

/// An SQLite inbox that writes down what it is asked, and waits or fails when told to.
pub struct WatchedInbox {
    inner: SqliteInbox,
    asked: watch::Sender<Vec<Asked>>,
    heard: Mutex<Vec<HeardNotice>>,
    failure: Mutex<Option<InboxError>>,
    is_open: watch::Sender<bool>,
}

impl WatchedInbox {
    pub fn open(folder: &Path) -> Self {
        let settings = InboxSettings {
            path: folder.join("inbox.db"),
            retention_age: Duration::from_secs(3600),
            retention_bytes: None,
            dedupe_age: Duration::from_secs(3600),
            commit_notices_max: 1024,
            parking: longshore::inbox::ParkingBounds::default(),
        };
        Self {
            inner: SqliteInbox::open(&settings, Arc::new(SystemClock)).expect("the inbox opens"),
            asked: watch::Sender::default(),
            heard: Mutex::default(),
            failure: Mutex::default(),
            is_open: watch::Sender::new(true),
        }
    }

    /// Makes `store` wait (`false`) or go on (`true`).
    pub fn set_open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }

    /// Makes `store` fail, or work again.
    pub fn fail_with(&self, failure: Option<InboxError>) {
        *self.failure.lock().expect("no panic") = failure;
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Waits until what was asked satisfies `wanted`.
    pub async fn until(&self, wanted: impl Fn(&[Asked]) -> bool) {
        let mut asked = self.asked.subscribe();
        let reached = asked.wait_for(|asked| wanted(asked));
        drop(in_time("the inbox is asked", reached).await.expect("the inbox lives on"));
    }

    /// Every notice that was stored or found stored, in order.
    pub fn heard(&self) -> Vec<HeardNotice> {
        self.heard.lock().expect("no panic").clone()
    }

    /// The keys of the notices in the inbox that go on to the routes.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self
            .inner
            .unplanned(100_000)
            .await
            .expect("the inbox can be read")
            .into_iter()
            .map(|notice| notice.dedupe_key)
            .collect();
        keys.sort_unstable();
        keys
    }
}

#[async_trait]
impl Inbox for WatchedInbox {
    fn now(&self) -> UnixMs {
        self.inner.now()
    }

    async fn store(&self, batch: Vec<HeardNotice>) -> Result<Vec<Receipt>, InboxError> {
        self.asked.send_modify(|asked| asked.push(Asked::Store(batch.len())));
        drop(self.is_open.subscribe().wait_for(|is_open| *is_open).await.expect("the inbox lives on"));
        if let Some(failure) = self.failure.lock().expect("no panic").clone() {
            return Err(failure);
        }
        let receipts = self.inner.store(batch.clone()).await?;
        self.heard.lock().expect("no panic").extend(batch);
        self.asked.send_modify(|asked| asked.push(Asked::Stored(receipts.len())));
        Ok(receipts)
    }

    async fn settled(&self, notices: Vec<NoticeId>, at: UnixMs) -> Result<(), InboxError> {
        self.asked.send_modify(|asked| asked.push(Asked::Settled(notices.len())));
        self.inner.settled(notices, at).await
    }

    async fn holds(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<bool>, InboxError> {
        self.inner.holds(feed, prefixes).await
    }

    async fn newest(&self, feed: FeedName, prefixes: Vec<String>) -> Result<Vec<Vec<(String, UnixMs)>>, InboxError> {
        self.inner.newest(feed, prefixes).await
    }

    async fn heard_events(
        &self,
        feed: FeedName,
        keys: Vec<EntityKey>,
        delivery: DeliveryId,
    ) -> Result<Vec<bool>, InboxError> {
        self.inner.heard_events(feed, keys, delivery).await
    }

    async fn mark(&self, feed: &FeedName) -> Result<Option<String>, InboxError> {
        self.inner.mark(feed).await
    }

    async fn set_mark(&self, feed: &FeedName, mark: String) -> Result<(), InboxError> {
        self.inner.set_mark(feed, mark).await
    }

    async fn oldest_unfinished(&self, feed: &FeedName) -> Result<Option<UnixMs>, InboxError> {
        self.inner.oldest_unfinished(feed).await
    }

    async fn unplanned(&self, limit: usize) -> Result<Vec<Notice>, InboxError> {
        self.inner.unplanned(limit).await
    }

    async fn plan(&self, plans: Vec<Plan>) -> Result<(), InboxError> {
        self.inner.plan(plans).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, InboxError> {
        self.inner.claim(request).await
    }

    async fn renew(&self, key: ClaimKey, until: UnixMs) -> Result<(), InboxError> {
        self.inner.renew(key, until).await
    }

    async fn progress(&self, key: ClaimKey, progress: Progress, remarks: Remarks) -> Result<(), InboxError> {
        self.inner.progress(key, progress, remarks).await
    }

    async fn finish(&self, key: ClaimKey, finish: Finish, remarks: Remarks) -> Result<(), InboxError> {
        self.inner.finish(key, finish, remarks).await
    }

    async fn known(&self, sink: SinkName, lookups: Vec<Lookup>) -> Result<Vec<Vec<bool>>, InboxError> {
        self.inner.known(sink, lookups).await
    }

    async fn decided(&self, delivery: DeliveryId, first: u64, last: u64) -> Result<Vec<(u64, Fate)>, InboxError> {
        self.inner.decided(delivery, first, last).await
    }

    async fn park(&self, key: ClaimKey, rules: ParkRules, orphans: Vec<Orphan>) -> Result<Vec<Fate>, InboxError> {
        self.inner.park(key, rules, orphans).await
    }

    async fn forget_attempts(&self, key: ClaimKey, what: Forget) -> Result<bool, InboxError> {
        self.inner.forget_attempts(key, what).await
    }

    async fn tend(&self) -> Result<Tended, InboxError> {
        self.inner.tend().await
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }
}
