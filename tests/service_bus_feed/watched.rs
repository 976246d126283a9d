//! An inbox that can be watched, and made to wait or to fail.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use longshore::clock::{SystemClock, UnixMs};
use longshore::inbox::{Inbox, InboxError, InboxSettings, Receipt, SqliteInbox};
use longshore::notice::{HeardNotice, NoticeId};
use tokio::sync::watch;

use crate::common::wait::in_time;
use crate::stand_in::Interferes;

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
impl Interferes for WatchedInbox {
    fn behind(&self) -> &dyn Inbox {
        &self.inner
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
}
