//! A disk that a test holds by the hand: each fsync waits until the test says how it ends.

use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::SqliteInbox;
use super::syncer::SyncLog;
use super::tests::settings;
use crate::clock::ManualClock;
use crate::inbox::conformance::START;

/// Nothing is waited for longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The disk's side of each fsync: it tells that it was asked, and does as it is told.
pub(crate) struct Hand {
    asked: UnboundedReceiver<()>,
    verdicts: mpsc::Sender<io::Result<()>>,
}

impl Hand {
    /// A hand, and the disk that it holds.
    pub(super) fn new() -> (Self, SyncLog) {
        let (asking, asked) = unbounded_channel();
        let (verdicts, verdict) = mpsc::channel();
        let disk = move || {
            let _ = asking.send(());
            match verdict.recv_timeout(LIMIT) {
                Ok(verdict) => verdict,
                Err(mpsc::RecvTimeoutError::Disconnected) => Ok(()),
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the test does not say what the disk shall do"),
            }
        };
        (Self { asked, verdicts }, Box::new(disk))
    }

    /// An inbox in `folder`, on a disk that is held.
    pub(crate) fn open(folder: &Path) -> (SqliteInbox, Self) {
        let (hand, disk) = Self::new();
        let clock = Arc::new(ManualClock::new(START));
        (SqliteInbox::open_on(&settings(folder), clock, super::keys::WAITING_MAX, |_| Ok(disk)).unwrap(), hand)
    }

    /// Waits until the disk is asked.
    pub(crate) async fn asked(&mut self) {
        tokio::time::timeout(LIMIT, self.asked.recv()).await.expect("the disk is asked in time").expect("it is there");
    }

    pub(crate) fn succeed(&self) {
        self.verdicts.send(Ok(())).expect("the inbox is there");
    }

    pub(crate) fn fail(&self) {
        self.verdicts.send(Err(io::Error::other("the disk said no"))).expect("the inbox is there");
    }

    /// From here on everything succeeds.
    pub(crate) fn let_go(self) {
        drop(self.verdicts);
    }
}
