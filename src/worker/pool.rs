//! The planner and the workers: loops that sleep until there is something to do.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as AtomicOrdering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::clock::UnixMs;
use crate::error::{Class, Classify, chain};
use crate::fail_point::{FailPoint, reach};
use crate::inbox::{Claim, ClaimRequest, Claimed, DeliveryId, Finish, InboxError, Plan, Remarks, SharedInbox};
use crate::notice::{FeedName, SinkName};
use crate::ops::metrics::OutcomeLabels;
use crate::ops::{Condition, Context, Heartbeat, unbroken};
use crate::payload::PayloadOpener;
use crate::route::Router;
use crate::sink::Sink;

use super::retry::{self, Failure, Side, Tries};
use super::run::{self, Done, Stopped, Tools};
use super::{WorkSettings, waker, window};

/// Notices that are planned in one commit.
const PLAN_NOTICES_MAX: usize = 256;

/// A loop with nothing to do looks again after this long, whatever it was told: the clock may have jumped.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(10);

/// Who asked for an end waits for what is due within this, or within the longest wait between attempts if that is
/// longer: a retry is part of the work. For what is due later somebody can come back.
const PATIENCE_MIN: Duration = Duration::from_secs(600);

/// After an inbox error, wait this long before asking again.
pub(super) const INBOX_PAUSE: Duration = Duration::from_secs(1);

/// A worker that shows no sign of life for this long stands still: longer than any time limit within a delivery.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(600);

/// When the workers end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When they are stopped.
    Stopped,
    /// When nothing stored is unfinished, when all that is has to wait long (see [`Ended::Waits`]), or when they are stopped.
    Empty,
}

/// Why the workers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// They were stopped.
    Stopped,
    /// Nothing stored is left to do.
    Empty,
    /// All that is left waits for a time, and the first of it for this one: it is further off than any wait between two
    /// attempts, such as an export that is compared days after it was written.
    Waits(UnixMs),
    /// The hours of work are over, or have not begun.
    OutsideHours,
    /// All that is left waits in so many lanes, behind what is quarantined.
    LanesStopped(u64),
}

/// What opens payloads.
pub struct Openers {
    /// For each feed, since each feed's payloads are fetched with its own tokens.
    pub of_feeds: HashMap<FeedName, Arc<PayloadOpener>>,
    /// For a notice that carries its body and whose feed is not configured any more.
    pub bodies: PayloadOpener,
}

/// The planner and the workers of this process.
pub struct Workers {
    settings: WorkSettings,
    tools: Tools,
    /// Failures in a row that used up no attempt, of deliveries that failed so.
    waits: Mutex<HashMap<DeliveryId, u32>>,
    /// Deliveries that run now.
    running: AtomicUsize,
    /// Counts the changes of the inbox. A loop marks it as seen before it asks the inbox, and so sleeps through none.
    changes: watch::Sender<u64>,
    /// Set by the worker that found that there is an end.
    ended: OnceLock<Ended>,
}

fn panicked() -> Failure {
    Failure {
        side: Side::Sink,
        class: Class::Transient,
        error: "longshore panicked over this delivery; the journal has the place, please report it".to_owned(),
        retry_after: None,
    }
}

/// The name under which the workers report their health.
const PART: &str = "workers";

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
        Self {
            settings,
            tools,
            waits: Mutex::default(),
            running: AtomicUsize::new(0),
            changes: watch::Sender::new(0),
            ended: OnceLock::new(),
        }
    }

    /// Works until `until`, or until `stop`. Then deliveries in progress have [`WorkSettings::drain`] to finish; what
    /// has not finished by then is given back. Returns why they ended.
    pub async fn run(self, until: Until, stop: CancellationToken) -> Ended {
        let workers = Arc::new(self);
        let abandon = CancellationToken::new();
        // Ends the others once nothing is left, without touching the caller's token.
        let end = stop.child_token();
        let mut loops = JoinSet::new();
        loops.spawn(Arc::clone(&workers).change_loop(end.clone()));
        let planner = (Arc::clone(&workers), end.clone());
        loops.spawn(
            async move {
                let (workers, end) = planner;
                let plan = || workers.plan_loop(&end);
                unbroken(&workers.tools.context.health, PART, &end, plan).await;
            }
            .in_current_span(),
        );
        let waker = (Arc::clone(&workers), end.clone());
        loops.spawn(
            async move {
                let (workers, end) = waker;
                let wake = || waker::wake_loop(&workers.tools, workers.changes.subscribe(), &end);
                unbroken(&workers.tools.context.health, PART, &end, wake).await;
            }
            .in_current_span(),
        );
        for number in 1..=workers.settings.workers {
            let (workers, end, abandon) = (Arc::clone(&workers), end.clone(), abandon.clone());
            loops.spawn(
                async move {
                    let work = || workers.work_loop(number, until, &end, &abandon);
                    unbroken(&workers.tools.context.health, PART, &end, work).await;
                }
                .in_current_span(),
            );
        }
        end.cancelled().await;
        let drained = async { while loops.join_next().await.is_some() {} };
        tokio::pin!(drained);
        if tokio::time::timeout(workers.settings.drain, &mut drained).await.is_err() {
            let running = workers.running.load(AtomicOrdering::Relaxed);
            tracing::warn!(running, "the drain is over; what is not finished is given back");
            abandon.cancel();
            drained.await;
        }
        workers.ended.get().copied().unwrap_or(Ended::Stopped)
    }

    fn end_as(&self, ended: Ended, end: &CancellationToken) {
        // The first reason is the one that counts.
        let _ = self.ended.set(ended);
        end.cancel();
    }

    /// The one listener to the inbox's changes, which tells all the loops.
    async fn change_loop(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.tools.inbox.changed() => self.changes.send_modify(|changes| *changes += 1),
            }
        }
    }

    async fn plan_loop(&self, stop: &CancellationToken) {
        let heartbeat = self.tools.context.heartbeats.register("planner", SILENCE_MAX);
        let mut changes = self.changes.subscribe();
        while !stop.is_cancelled() {
            heartbeat.beat();
            changes.mark_unchanged();
            match self.plan_some().await {
                Ok(true) => {}
                Ok(false) => idle(IDLE_MAX, &mut changes, stop).await,
                Err(error) => self.inbox_trouble(&error, stop).await,
            }
        }
    }

    /// Plans one batch; returns whether there was anything to plan.
    async fn plan_some(&self) -> Result<bool, InboxError> {
        let notices = self.tools.inbox.unplanned(PLAN_NOTICES_MAX).await?;
        if notices.is_empty() {
            return Ok(false);
        }
        let plans: Vec<Plan> = notices.iter().map(|notice| self.tools.router.plan(notice)).collect();
        reach(FailPoint::Planning);
        self.tools.inbox.plan(plans).await?;
        reach(FailPoint::Planned);
        Ok(true)
    }

    async fn work_loop(&self, number: usize, until: Until, end: &CancellationToken, abandon: &CancellationToken) {
        let name = format!("longshore-{}/{number}", std::process::id());
        let heartbeat = self.tools.context.heartbeats.register(&format!("worker {number}"), SILENCE_MAX);
        let mut changes = self.changes.subscribe();
        while !end.is_cancelled() {
            heartbeat.beat();
            changes.mark_unchanged();
            let now = self.tools.context.clock.now();
            if !window::is_open(&self.settings.windows, &self.settings.zone, now) {
                if until == Until::Empty {
                    // Who waits for an end would otherwise wait for hours, and not know what for.
                    return self.end_as(Ended::OutsideHours, end);
                }
                let wait = window::look_again_in(&self.settings.windows, &self.settings.zone, now);
                self.say("outside the working hours".to_owned());
                pause(wait, end).await;
                continue;
            }
            self.say(format!("{} at work", self.settings.workers));
            match self.claim(&name).await {
                Ok(Claimed::Delivery(claim)) => self.work(*claim, &heartbeat, abandon).await,
                Ok(Claimed::Nothing { unfinished: false, stopped_lanes, .. }) if until == Until::Empty => {
                    let ended = if stopped_lanes == 0 { Ended::Empty } else { Ended::LanesStopped(stopped_lanes) };
                    self.end_as(ended, end);
                }
                Ok(Claimed::Nothing { next_due, busy, .. }) => {
                    let now = self.tools.inbox.now();
                    let patience = PATIENCE_MIN.max(self.settings.retry.1);
                    if let Some(due) = next_due
                        && until == Until::Empty
                        && !busy
                        && due.since(now) > patience
                    {
                        return self.end_as(Ended::Waits(due), end);
                    }
                    let wait = next_due.map_or(IDLE_MAX, |due| due.since(now).min(IDLE_MAX));
                    idle(wait, &mut changes, end).await;
                }
                Err(error) => self.inbox_trouble(&error, end).await,
            }
        }
    }

    fn say(&self, note: String) {
        self.tools.context.health.set(PART, Condition::Good { note });
    }

    async fn claim(&self, worker: &str) -> Result<Claimed, InboxError> {
        let request = ClaimRequest {
            worker: worker.to_owned(),
            lease: self.settings.lease,
            now: self.tools.inbox.now(),
            ordering: self.settings.ordering,
            on_poison: self.settings.on_poison,
            per_blob_type_max: self.settings.per_blob_type_max,
        };
        self.tools.inbox.claim(request).await
    }

    async fn inbox_trouble(&self, error: &InboxError, stop: &CancellationToken) {
        tracing::error!(error = %chain(error), class = %error.class(), "the inbox failed; trying again");
        self.tools.context.health.set("inbox", Condition::Degraded { reason: error.to_string() });
        pause(INBOX_PAUSE, stop).await;
    }

    /// Runs one claimed delivery and ends its claim.
    async fn work(&self, claim: Claim, heartbeat: &Heartbeat, abandon: &CancellationToken) {
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
        self.running.fetch_add(1, AtomicOrdering::Relaxed);
        self.work_in_span(claim, heartbeat, abandon).instrument(span).await;
        self.running.fetch_sub(1, AtomicOrdering::Relaxed);
    }

    async fn work_in_span(&self, claim: Claim, heartbeat: &Heartbeat, abandon: &CancellationToken) {
        if let Some(finish) = retry::give_up(&self.settings, claim.attempt, claim.lost) {
            tracing::error!(lost = claim.lost, "the delivery loses its lease each time; it is quarantined");
            self.end(&claim, finish, Remarks::default(), heartbeat, abandon).await;
            return;
        }
        let (started, has_progressed) = (tokio::time::Instant::now(), AtomicBool::new(false));
        let result = tokio::select! {
            result = AssertUnwindSafe(run::deliver(&self.tools, &claim, &has_progressed)).catch_unwind() => {
                // A panic over one payload must not cost a worker: it is a failed attempt like another.
                result.unwrap_or_else(|_| Err(Stopped::Failed(panicked())))
            }
            error = self.hold(&claim, heartbeat) => Err(Stopped::Inbox(error)),
            () = abandon.cancelled() => {
                self.end(&claim, Finish::Release, Remarks::default(), heartbeat, abandon).await;
                return;
            }
        };
        match result {
            Ok(Done { progress, location, remarks }) => {
                let counts = progress.counts;
                let done = Finish::Done { progress, location: location.clone() };
                reach(FailPoint::Finishing);
                if self.end(&claim, done, remarks, heartbeat, abandon).await {
                    reach(FailPoint::Finished);
                    run::count(&self.tools.context, &claim.target.route, counts, claim.woken.is_some());
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
                self.failed(&claim, failure, has_progressed.into_inner(), heartbeat, abandon).await;
            }
            Err(Stopped::Superseded(_)) => unreachable!("such a delivery ends well"),
            Err(Stopped::NotYet { due, why }) => {
                tracing::debug!(why, %due, "the delivery waits");
                let class = Class::Throttled;
                let later = Finish::Retry { due, class, error: why, uses_attempt: false, has_progressed: false };
                self.end(&claim, later, Remarks::default(), heartbeat, abandon).await;
            }
            Err(Stopped::Inbox(error @ InboxError::LeaseLost(_))) => {
                tracing::warn!(%error, "another worker may have taken over; nothing more is done under this claim");
            }
            Err(Stopped::Inbox(error)) => {
                let failure =
                    Failure { side: Side::Sink, class: error.class(), error: chain(&error), retry_after: None };
                self.failed(&claim, failure, has_progressed.into_inner(), heartbeat, abandon).await;
            }
        }
    }

    /// Renews the claim's lease for as long as it is polled; returns when that fails for good.
    async fn hold(&self, claim: &Claim, heartbeat: &Heartbeat) -> InboxError {
        let mut renewed = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(renewal_wait(self.settings.lease)).await;
            heartbeat.beat();
            let until = self.tools.inbox.now().plus(self.settings.lease);
            match self.tools.inbox.renew(claim.key, until).await {
                Ok(()) => renewed = tokio::time::Instant::now(),
                Err(error @ InboxError::LeaseLost(_)) => return error,
                // The lease still holds; a busy disk may let the next renewal through.
                Err(error) if renewed.elapsed() < self.settings.lease => {
                    tracing::warn!(error = %chain(&error), "the lease could not be renewed yet");
                }
                Err(error) => return error,
            }
        }
    }

    async fn failed(
        &self,
        claim: &Claim,
        failure: Failure,
        has_progressed: bool,
        heartbeat: &Heartbeat,
        abandon: &CancellationToken,
    ) {
        let waits = {
            let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
            let count = waits.entry(claim.key.delivery).or_insert(0);
            *count = count.saturating_add(1);
            *count
        };
        let class = failure.class;
        let error = failure.error.clone();
        let (now, since) = (self.tools.inbox.now(), claim.since);
        let tries = Tries { attempt: claim.attempt, waits, has_progressed, since, now };
        let finish = retry::decide(&self.settings, failure, tries, fastrand::f64());
        match &finish {
            Finish::Retry { due, .. } => {
                tracing::warn!(%class, error, next = %due, "the delivery failed; it is tried again")
            }
            _ => {
                tracing::error!(%class, error, "the delivery is quarantined; see `longshore show {}`", claim.notice.id);
                if self.settings.stops_on_poison() {
                    tracing::error!("what is behind it waits until somebody decides: `longshore quarantine`");
                }
            }
        }
        self.end(claim, finish, Remarks::default(), heartbeat, abandon).await;
    }

    /// Ends a claim; returns whether that was stored. An inbox that cannot be written for now is asked again until
    /// `abandon`: what is delivered shall not be delivered once more, and what failed shall not count as a lost lease.
    /// If it is not stored in the end, the lease runs out and the delivery is done again.
    async fn end(
        &self,
        claim: &Claim,
        finish: Finish,
        remarks: Remarks,
        heartbeat: &Heartbeat,
        abandon: &CancellationToken,
    ) -> bool {
        let outcome = match &finish {
            Finish::Done { .. } => "done",
            Finish::Retry { .. } => "retry",
            Finish::Quarantine { .. } => "quarantined",
            Finish::Release => "released",
        };
        if !matches!(finish, Finish::Retry { uses_attempt: false, .. }) {
            self.waits.lock().unwrap_or_else(PoisonError::into_inner).remove(&claim.key.delivery);
        }
        loop {
            let error = match self.tools.inbox.finish(claim.key, finish.clone(), remarks.clone()).await {
                Ok(()) => {
                    let labels = OutcomeLabels { route: claim.target.route.to_string(), outcome: outcome.to_owned() };
                    self.tools.context.metrics.deliveries.get_or_create(&labels).inc();
                    return true;
                }
                Err(error) => error,
            };
            let may_pass = matches!(error, InboxError::DiskFull { .. } | InboxError::Unavailable { .. });
            if !may_pass || abandon.is_cancelled() {
                tracing::error!(error = %chain(&error), class = %error.class(), outcome, "the end of the delivery could not be stored; it is done again when its lease runs out");
                return false;
            }
            heartbeat.beat();
            self.inbox_trouble(&error, abandon).await;
        }
    }
}

/// How long a claim is held before its lease is renewed: often enough to bear two failures, and often enough for a
/// sign of life, however long the lease is.
fn renewal_wait(lease: Duration) -> Duration {
    (lease / 3).min(SILENCE_MAX / 3)
}

/// Waits until something changes in the inbox, for `wait` at most.
pub(super) async fn idle(wait: Duration, changes: &mut watch::Receiver<u64>, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        // The sender lives as long as the workers.
        _ = changes.changed() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

/// Waits for `wait`, whatever changes in the inbox.
pub(super) async fn pause(wait: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
