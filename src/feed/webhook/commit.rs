//! One commit for many requests: what arrives while a commit is under way is stored by the next.
//!
//! ```text
//! requests ──> queue ──> batch ──> the inbox (one that it syncs, one that it writes, one that waits) ──> receipts ──> answers
//!                                                                └──> settled: noted beside, and waited for by nobody
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::WebhookSettings;
use super::troubles::{Trouble, Troubles};
use crate::clock::UnixMs;
use crate::inbox::{InboxError, Receipt, SharedInbox};
use crate::notice::{HeardNotice, NoticeId};
use crate::ops::Context;
use crate::ops::metrics::FeedLabels;

/// After a commit has failed, it is tried this often with one of its notices, so that the feed says when all is well
/// again, also while no request comes.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Batches that are with the inbox: one that it syncs, one that is written meanwhile, and one that is there when that is
/// done. More would only cut the same requests into smaller pieces.
const COMMITS_MAX: usize = 3;

/// A request that waits for its commit.
pub(super) struct Arrived {
    notice: HeardNotice,
    answer: oneshot::Sender<Result<Receipt, InboxError>>,
    /// Its share of the memory for bodies, held until it is stored, also when its sender has gone.
    _room: OwnedSemaphorePermit,
}

/// The way to the one task that stores.
#[derive(Clone)]
pub(super) struct Committer {
    queue: mpsc::Sender<Arrived>,
}

impl Committer {
    /// Starts it. The future ends once every hold on the committer is gone and the last commit has returned.
    pub(super) fn start(
        settings: &WebhookSettings,
        inbox: SharedInbox,
        context: Context,
        troubles: Arc<Troubles>,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let limits = settings.limits;
        // A waiting request holds room for its body, so that the queue itself need not be long.
        let (queue, arrived) = mpsc::channel(limits.batch_requests_max);
        let labels = FeedLabels { feed: settings.name.to_string() };
        let store = Store { inbox, context, troubles, labels, failed: None, answered: Vec::new() };
        let batch =
            Batch { requests: Vec::new(), until: None, max: limits.batch_requests_max, wait: limits.batch_wait };
        let task = tokio::spawn(run(arrived, store, batch));
        (Self { queue }, async move {
            if let Err(error) = task.await {
                tracing::error!(%error, "the committer ended early; nothing that it held was answered with 200");
            }
        })
    }

    /// Stores `notice`; `None` when the committer is gone.
    pub(super) async fn store(
        &self,
        notice: HeardNotice,
        room: OwnedSemaphorePermit,
    ) -> Option<Result<Receipt, InboxError>> {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Arrived { notice, answer, _room: room }).await.ok()?;
        answered.await.ok()
    }
}

/// What is gathered for the next commit.
struct Batch {
    requests: Vec<Arrived>,
    /// Until when more is waited for.
    until: Option<Instant>,
    max: usize,
    wait: Duration,
}

impl Batch {
    /// Takes what is there, and what comes while it may wait; stays empty once nobody can come any more. Nothing is lost
    /// when it is left off and called again.
    async fn fill(&mut self, queue: &mut mpsc::Receiver<Arrived>) {
        if self.requests.is_empty() {
            queue.recv_many(&mut self.requests, self.max).await;
            self.until = Some(Instant::now() + self.wait);
            // Requests that are being read get into this batch too, where there are any: each commit has its price.
            tokio::task::yield_now().await;
            while !self.requests.is_empty() && self.requests.len() < self.max {
                match queue.try_recv() {
                    Ok(request) => self.requests.push(request),
                    Err(_) => break,
                }
            }
        }
        let Some(until) = self.until.filter(|_| !self.wait.is_zero()) else { return };
        while (1..self.max).contains(&self.requests.len()) {
            let room = self.max - self.requests.len();
            match tokio::time::timeout_at(until, queue.recv_many(&mut self.requests, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn take(&mut self) -> Vec<Arrived> {
        self.until = None;
        std::mem::take(&mut self.requests)
    }
}

async fn run(mut queue: mpsc::Receiver<Arrived>, mut store: Store, mut batch: Batch) {
    let (mut commits, mut settling) = (FuturesUnordered::new(), FuturesUnordered::new());
    let (mut is_open, mut with_inbox) = (true, 0);
    while is_open || !commits.is_empty() || !settling.is_empty() || !store.answered.is_empty() {
        // Behind the next batch, so that it shares its transaction; at once when none is there.
        let is_time = commits.is_empty() || commits.len() > with_inbox;
        with_inbox = commits.len();
        if is_time && settling.is_empty() && !store.answered.is_empty() {
            let answered = std::mem::take(&mut store.answered);
            settling.push(note_settled(Arc::clone(&store.inbox), answered, store.context.clock.now()));
        }
        tokio::select! {
            // Answers first, and what is settled behind the batch that it was to wait for.
            biased;
            Some(ended) = commits.next(), if !commits.is_empty() => store.ended(ended),
            Some(()) = settling.next(), if !settling.is_empty() => {}
            () = batch.fill(&mut queue), if is_open && commits.len() < COMMITS_MAX => match batch.take() {
                requests if requests.is_empty() => is_open = false,
                requests => commits.push(commit(Arc::clone(&store.inbox), requests)),
            },
            () = tokio::time::sleep(TRY_AGAIN), if store.failed.is_some() && is_open => store.try_again().await,
        }
    }
}

/// A commit that has returned.
struct Ended {
    /// Its first notice.
    first: Option<HeardNotice>,
    waiting: Vec<Waiting>,
    result: Result<Vec<Receipt>, InboxError>,
}

/// Who waits for an answer, and the memory that is held until then.
type Waiting = (oneshot::Sender<Result<Receipt, InboxError>>, OwnedSemaphorePermit);

async fn commit(inbox: SharedInbox, requests: Vec<Arrived>) -> Ended {
    let (mut notices, mut waiting) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
    for Arrived { notice, answer, _room } in requests {
        notices.push(notice);
        waiting.push((answer, _room));
    }
    let first = notices.first().cloned();
    Ended { first, waiting, result: inbox.store(notices).await }
}

async fn note_settled(inbox: SharedInbox, answered: Vec<NoticeId>, at: UnixMs) {
    if let Err(error) = inbox.settled(answered, at).await {
        tracing::debug!(%error, "the inbox could not note what was answered");
    }
}

struct Store {
    inbox: SharedInbox,
    context: Context,
    troubles: Arc<Troubles>,
    labels: FeedLabels,
    /// A notice of a commit that failed. Its sender was told to come again; that it may be stored by now does no harm.
    failed: Option<HeardNotice>,
    /// What was answered, and is not noted as settled yet.
    answered: Vec<NoticeId>,
}

impl Store {
    /// Answers who waited for a commit.
    fn ended(&mut self, Ended { first, waiting, result }: Ended) {
        match result {
            Ok(receipts) => {
                // A receipt that is paired with the wrong request would answer 200 for one that is not stored.
                assert_eq!(receipts.len(), waiting.len(), "an inbox gives one receipt for each notice");
                self.count(&receipts);
                self.answered.extend(receipts.iter().map(Receipt::notice));
                for ((answer, _room), receipt) in waiting.into_iter().zip(receipts) {
                    // Who does not wait any more sends it again.
                    drop(answer.send(Ok(receipt)));
                }
                self.failed = None;
                self.troubles.clear(Trouble::Inbox);
            }
            Err(error) => {
                self.troubles.set(Trouble::Inbox, format!("senders are told to come again: {error}"));
                self.failed = first;
                for (answer, _room) in waiting {
                    drop(answer.send(Err(error.clone())));
                }
            }
        }
    }

    async fn try_again(&mut self) {
        let Some(notice) = &self.failed else { return };
        match self.inbox.store(vec![notice.clone()]).await {
            Ok(receipts) => {
                self.count(&receipts);
                self.failed = None;
                self.troubles.clear(Trouble::Inbox);
            }
            Err(error) => {
                self.troubles.set(Trouble::Inbox, format!("senders are told to come again: {error}"));
            }
        }
    }

    fn count(&self, receipts: &[Receipt]) {
        let duplicates = receipts.iter().filter(|receipt| receipt.is_duplicate()).count();
        let metrics = &self.context.metrics;
        metrics.notices_stored.get_or_create(&self.labels).inc_by((receipts.len() - duplicates) as u64);
        metrics.notices_duplicate.get_or_create(&self.labels).inc_by(duplicates as u64);
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
