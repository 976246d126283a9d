//! One delivery under its lease: run, renewed while it runs, and ended with what came of it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::{Class, Classify, chain};
use crate::fail_point::{FailPoint, reach};
use crate::inbox::{Claim, DeliveryId, Finish, InboxError, Remarks};
use crate::ops::Heartbeat;
use crate::ops::metrics::OutcomeLabels;

use super::WorkSettings;
use super::outcome::{Done, Stopped};
use super::retry::{self, Failure, Side, Tries};
use super::run;
use super::tools::Tools;
use super::wait::{SILENCE_MAX, pause_after};

/// What the deliveries that run in this process share.
pub(super) struct Leases {
    pub settings: WorkSettings,
    pub tools: Tools,
    waits: Waits,
    running: AtomicUsize,
}

impl Leases {
    pub(super) fn new(settings: WorkSettings, tools: Tools) -> Self {
        Self { settings, tools, waits: Waits::default(), running: AtomicUsize::new(0) }
    }

    /// How many deliveries run now.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Runs one claimed delivery and ends its claim. Cancelled, `abandon` gives the claim back.
    pub(super) async fn work(&self, claim: Claim, heartbeat: &Heartbeat, abandon: &CancellationToken) {
        let span = tracing::info_span!(
            "delivery",
            notice = claim.notice.id.0,
            feed = %claim.notice.feed,
            blob_type = claim.notice.metadata.blob_type,
            correlation_id = claim.notice.metadata.correlation_id,
            route = %claim.target.route,
            sink = %claim.target.sink,
            attempt = claim.attempt,
        );
        reach(FailPoint::Claimed);
        self.running.fetch_add(1, Ordering::Relaxed);
        let lease = Lease { leases: self, claim, heartbeat, abandon };
        lease.run().instrument(span).await;
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Failures in a row that used up no attempt, of deliveries that failed so.
#[derive(Default)]
struct Waits(Mutex<HashMap<DeliveryId, u32>>);

impl Waits {
    /// Counts one more; returns how many there are.
    fn count(&self, delivery: DeliveryId) -> u32 {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waits.entry(delivery).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    fn forget(&self, delivery: DeliveryId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&delivery);
    }
}

/// A delivery that is claimed.
struct Lease<'a> {
    leases: &'a Leases,
    claim: Claim,
    heartbeat: &'a Heartbeat,
    abandon: &'a CancellationToken,
}

impl Lease<'_> {
    /// Runs the delivery and ends the claim.
    async fn run(&self) {
        let Leases { settings, tools, .. } = self.leases;
        let claim = &self.claim;
        if let Some(finish) = retry::give_up(settings, claim.attempt, claim.lost) {
            tracing::error!(lost = claim.lost, "the delivery loses its lease each time; it is quarantined");
            self.end(finish, Remarks::default()).await;
            return;
        }
        let (started, has_progressed) = (tokio::time::Instant::now(), AtomicBool::new(false));
        let result = tokio::select! {
            result = AssertUnwindSafe(run::deliver(tools, claim, &has_progressed)).catch_unwind() => {
                // A panic over one payload must not cost a worker: it is a failed attempt like another.
                result.unwrap_or_else(|_| Err(Stopped::Failed(panicked())))
            }
            error = self.renew() => Err(Stopped::Inbox(error)),
            () = self.abandon.cancelled() => {
                self.end(Finish::Release, Remarks::default()).await;
                return;
            }
        };
        match result {
            Ok(Done { progress, location, remarks }) => {
                let counts = progress.counts;
                let done = Finish::Done { progress, location: location.clone() };
                reach(FailPoint::Finishing);
                if self.end(done, remarks).await {
                    reach(FailPoint::Finished);
                    run::count(&tools.context, &claim.target.route, counts, claim.woken.is_some());
                    tracing::info!(
                        read = counts.read,
                        delivered = counts.delivered,
                        filtered = counts.filtered,
                        parked = counts.parked,
                        quarantined = counts.quarantined,
                        bytes = progress.bytes,
                        took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                        location,
                        "delivered"
                    );
                }
            }
            Err(Stopped::Failed(failure)) => {
                self.failed(failure, has_progressed.into_inner()).await;
            }
            Err(Stopped::Superseded(_)) => unreachable!("such a delivery ends well"),
            Err(Stopped::NotYet { due, why }) => {
                tracing::debug!(why, %due, "the delivery waits");
                let class = Class::Throttled;
                let later = Finish::Retry { due, class, error: why, uses_attempt: false, has_progressed: false };
                self.end(later, Remarks::default()).await;
            }
            Err(Stopped::Inbox(error @ InboxError::LeaseLost(_))) => {
                tracing::warn!(%error, "another worker may have taken over; nothing more is done under this claim");
            }
            Err(Stopped::Inbox(error)) => {
                let failure =
                    Failure { side: Side::Sink, class: error.class(), error: chain(&error), retry_after: None };
                self.failed(failure, has_progressed.into_inner()).await;
            }
        }
    }

    /// Renews the claim's lease for as long as it is polled; returns when that fails for good.
    async fn renew(&self) -> InboxError {
        let Leases { settings, tools, .. } = self.leases;
        let mut renewed = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(renewal_wait(settings.lease)).await;
            self.heartbeat.beat();
            let until = tools.inbox.now().plus(settings.lease);
            match tools.inbox.renew(self.claim.key, until).await {
                Ok(()) => renewed = tokio::time::Instant::now(),
                Err(error @ InboxError::LeaseLost(_)) => return error,
                // The lease still holds; a busy disk may let the next renewal through.
                Err(error) if renewed.elapsed() < settings.lease => {
                    tracing::warn!(error = %chain(&error), "the lease could not be renewed yet");
                }
                Err(error) => return error,
            }
        }
    }

    async fn failed(&self, failure: Failure, has_progressed: bool) {
        let Leases { settings, tools, .. } = self.leases;
        let claim = &self.claim;
        let waits = self.leases.waits.count(claim.key.delivery);
        let class = failure.class;
        let error = failure.error.clone();
        let (now, since) = (tools.inbox.now(), claim.since);
        let tries = Tries { attempt: claim.attempt, waits, has_progressed, since, now };
        let finish = retry::decide(settings, failure, tries, fastrand::f64());
        match &finish {
            Finish::Retry { due, .. } => {
                tracing::warn!(%class, error, next = %due, "the delivery failed; it is tried again")
            }
            _ => {
                tracing::error!(%class, error, "the delivery is quarantined; see `longshore show {}`", claim.notice.id);
                if settings.stops_on_poison() {
                    tracing::error!("what is behind it waits until somebody decides: `longshore quarantine`");
                }
            }
        }
        self.end(finish, Remarks::default()).await;
    }

    /// Ends a claim; returns whether that was stored. An inbox that cannot be written for now is asked again until
    /// `abandon`: what is delivered shall not be delivered once more, and what failed shall not count as a lost lease.
    /// If it is not stored in the end, the lease runs out and the delivery is done again.
    async fn end(&self, finish: Finish, remarks: Remarks) -> bool {
        let Leases { tools, .. } = self.leases;
        let claim = &self.claim;
        let outcome = match &finish {
            Finish::Done { .. } => "done",
            Finish::Retry { .. } => "retry",
            Finish::Quarantine { .. } => "quarantined",
            Finish::Release => "released",
        };
        if !matches!(finish, Finish::Retry { uses_attempt: false, .. }) {
            self.leases.waits.forget(claim.key.delivery);
        }
        loop {
            let error = match tools.inbox.finish(claim.key, finish.clone(), remarks.clone()).await {
                Ok(()) => {
                    let labels = OutcomeLabels { route: claim.target.route.to_string(), outcome: outcome.to_owned() };
                    tools.context.metrics.deliveries.get_or_create(&labels).inc();
                    return true;
                }
                Err(error) => error,
            };
            let may_pass = matches!(error, InboxError::DiskFull { .. } | InboxError::Unavailable { .. });
            if !may_pass || self.abandon.is_cancelled() {
                tracing::error!(error = %chain(&error), class = %error.class(), outcome, "the end of the delivery could not be stored; it is done again when its lease runs out");
                return false;
            }
            self.heartbeat.beat();
            pause_after(&error, "the inbox failed", &tools.context, self.abandon).await;
        }
    }
}

fn panicked() -> Failure {
    Failure {
        side: Side::Sink,
        class: Class::Transient,
        error: "longshore panicked over this delivery; the journal has the place, please report it".to_owned(),
        retry_after: None,
    }
}

/// How long a claim is held before its lease is renewed: often enough to bear two failures, and often enough for a
/// sign of life, however long the lease is.
fn renewal_wait(lease: Duration) -> Duration {
    (lease / 3).min(SILENCE_MAX / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_hours_keeps_no_worker_from_its_signs_of_life() {
        assert!(renewal_wait(Duration::from_secs(24 * 3_600)) < SILENCE_MAX);
        assert_eq!(renewal_wait(Duration::from_secs(60)), Duration::from_secs(20));
    }
}
