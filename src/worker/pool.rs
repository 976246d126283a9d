//! The loops that work in this process: one planner, one waker and the workers. They are begun, woken by what changes in
//! the inbox, and taken down together.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::inbox::SharedInbox;
use crate::notice::SinkName;
use crate::ops::{Context, unbroken};
use crate::route::Router;
use crate::sink::Sink;

use super::claim::{End, Ended, PART, Until, Worker};
use super::lease::Leases;
use super::tools::{Openers, Tools};
use super::{WorkSettings, planner, waker};

/// The planner, the waker and the workers of this process.
pub struct Workers {
    leases: Leases,
    /// Counts the changes of the inbox. A loop marks it as seen before it asks the inbox, and so sleeps through none.
    changes: watch::Sender<u64>,
}

impl Workers {
    /// Workers over these parts.
    #[must_use]
    pub fn new(
        settings: WorkSettings,
        inbox: SharedInbox,
        router: Arc<Router>,
        sinks: HashMap<SinkName, Arc<dyn Sink>>,
        openers: Openers,
        context: Context,
    ) -> Self {
        let tools = Tools { inbox, router, sinks, openers, context };
        Self { leases: Leases::new(settings, tools), changes: watch::Sender::new(0) }
    }

    /// Works until `until`, or until `stop`. Then deliveries in progress have [`WorkSettings::drain`] to finish; what
    /// has not finished by then is given back. Returns why they ended.
    pub async fn run(self, until: Until, stop: CancellationToken) -> Ended {
        let workers = Arc::new(self);
        let abandon = CancellationToken::new();
        // Ends the others once nothing is left, without touching the caller's token.
        let end = Arc::new(End::new(stop.child_token()));
        let mut loops = JoinSet::new();
        loops.spawn(Arc::clone(&workers).change_loop(end.token.clone()));
        let planner = (Arc::clone(&workers), end.token.clone());
        loops.spawn(
            async move {
                let (workers, end) = planner;
                let plan = || planner::plan_loop(&workers.leases.tools, workers.changes.subscribe(), &end);
                unbroken(&workers.leases.tools.context.health, PART, &end, plan).await;
            }
            .in_current_span(),
        );
        let waker = (Arc::clone(&workers), end.token.clone());
        loops.spawn(
            async move {
                let (workers, end) = waker;
                let wake = || waker::wake_loop(&workers.leases.tools, workers.changes.subscribe(), &end);
                unbroken(&workers.leases.tools.context.health, PART, &end, wake).await;
            }
            .in_current_span(),
        );
        for number in 1..=workers.leases.settings.workers {
            let (workers, end, abandon) = (Arc::clone(&workers), Arc::clone(&end), abandon.clone());
            loops.spawn(
                async move {
                    let leases = &workers.leases;
                    let worker = Worker { number, until, leases, end: &end, abandon: &abandon };
                    let work = || worker.work_loop(workers.changes.subscribe());
                    unbroken(&leases.tools.context.health, PART, &end.token, work).await;
                }
                .in_current_span(),
            );
        }
        end.token.cancelled().await;
        let drained = async { while loops.join_next().await.is_some() {} };
        tokio::pin!(drained);
        if tokio::time::timeout(workers.leases.settings.drain, &mut drained).await.is_err() {
            let running = workers.leases.running();
            tracing::warn!(running, "the drain is over; what is not finished is given back");
            abandon.cancel();
            drained.await;
        }
        end.reason()
    }

    /// The one listener to the inbox's changes, which tells all the loops.
    async fn change_loop(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.leases.tools.inbox.changed() => self.changes.send_modify(|changes| *changes += 1),
            }
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
