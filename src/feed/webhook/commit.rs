//! One commit for many requests: what arrives while a commit is under way is stored by the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::WebhookSettings;
use super::troubles::{Trouble, Troubles};
use crate::inbox::{InboxError, Receipt, SharedInbox};
use crate::notice::HeardNotice;
use crate::ops::Context;
use crate::ops::metrics::FeedLabels;

/// After a commit has failed, it is tried this often with one of its notices, so that the feed says when all is well
/// again, also while no request comes.
const TRY_AGAIN: Duration = Duration::from_secs(5);

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
        let store = Store { inbox, context, troubles, labels, failed: None };
        let task = tokio::spawn(run(arrived, store, limits.batch_requests_max, limits.batch_wait));
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

async fn run(mut queue: mpsc::Receiver<Arrived>, mut store: Store, batch_max: usize, wait: Duration) {
    let mut batch = Vec::with_capacity(batch_max);
    loop {
        let more = async {
            if queue.recv_many(&mut batch, batch_max).await == 0 {
                return false;
            }
            let until = Instant::now() + wait;
            while !wait.is_zero() && batch.len() < batch_max {
                let room = batch_max - batch.len();
                match tokio::time::timeout_at(until, queue.recv_many(&mut batch, room)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            true
        };
        tokio::select! {
            more = more => match more {
                true => store.batch(std::mem::take(&mut batch)).await,
                false => return,
            },
            () = tokio::time::sleep(TRY_AGAIN), if store.failed.is_some() => store.try_again().await,
        }
    }
}

struct Store {
    inbox: SharedInbox,
    context: Context,
    troubles: Arc<Troubles>,
    labels: FeedLabels,
    /// A notice of a commit that failed. Its sender was told to come again; that it may be stored by now does no harm.
    failed: Option<HeardNotice>,
}

impl Store {
    async fn batch(&mut self, batch: Vec<Arrived>) {
        let (mut notices, mut waiting) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for Arrived { notice, answer, _room } in batch {
            notices.push(notice);
            waiting.push((answer, _room));
        }
        let first = notices.first().cloned();
        match self.inbox.store(notices).await {
            Ok(receipts) => {
                // A receipt that is paired with the wrong request would answer 200 for one that is not stored.
                assert_eq!(receipts.len(), waiting.len(), "an inbox gives one receipt for each notice");
                let answered = receipts.iter().map(Receipt::notice).collect();
                self.count(&receipts);
                for ((answer, _room), receipt) in waiting.into_iter().zip(receipts) {
                    // Who does not wait any more sends it again.
                    drop(answer.send(Ok(receipt)));
                }
                if let Err(error) = self.inbox.settled(answered, self.context.clock.now()).await {
                    tracing::debug!(%error, "the inbox could not note what was answered");
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
