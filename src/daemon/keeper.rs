//! Keeps the inbox: writes down how the daemon is, prunes what is old, and measures it for the metrics.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::chain;
use crate::inbox::ledger::{DaemonReport, Ledger, REPORT_EVERY, Retention, Summary};
use crate::inbox::{InboxError, InboxSettings};
use crate::ops::http::BeforeMetrics;
use crate::ops::metrics::{InboxHolds, StateLabel};
use crate::ops::{Condition, Context};

use super::Duty;
use super::times::Times;

/// A change of health is written down at once, but not more often than this: a flapping connection is no flood.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// How often old notices are looked for. Each look is a query that finds nothing most of the time.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// How long to wait after a look that failed: a disk that works again shall not be called broken for long.
const PRUNE_AGAIN: Duration = Duration::from_secs(15);

/// Ends the daemon when its inbox can only be opened anew.
#[derive(Clone, Debug)]
pub(super) struct LastResort {
    /// Ends the daemon.
    pub(super) stop: CancellationToken,
    /// Why it was ended.
    pub(super) why: Arc<OnceLock<InboxError>>,
}

impl LastResort {
    fn look_at(&self, error: &InboxError) {
        if matches!(error, InboxError::RestartNeeded { .. }) && self.why.set(error.clone()).is_ok() {
            tracing::error!(%error, "ending, so that the service manager starts longshore again");
            self.stop.cancel();
        }
    }
}

/// Keeps the inbox until `stop`.
pub(super) async fn keep(
    ledger: Arc<dyn Ledger>,
    mut times: Times,
    settings: InboxSettings,
    duty: Duty,
    context: Context,
    last_resort: LastResort,
    stop: CancellationToken,
) {
    let reporter = Reporter::new(Arc::clone(&ledger), duty, context.clone(), last_resort);
    let mut changes = context.health.watch();
    let mut report = tokio::time::interval(REPORT_EVERY);
    let mut prune = tokio::time::interval(PRUNE_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = report.tick() => {
                times.look();
                reporter.report().await;
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    break;
                }
                reporter.report().await;
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(REPORT_PAUSE) => {}
                }
            }
            _ = prune.tick() => {
                if !prune_now(ledger.as_ref(), &settings, &context).await {
                    prune.reset_after(PRUNE_AGAIN);
                }
            }
        }
    }
    reporter.leave().await;
}

/// Returns whether it could be done.
async fn prune_now(ledger: &dyn Ledger, settings: &InboxSettings, context: &Context) -> bool {
    match ledger.prune(Retention::from(settings)).await {
        Ok(pruned) => {
            if pruned.notices > 0 {
                tracing::info!(notices = pruned.notices, bytes = pruned.bytes, "pruned old notices");
            }
            let condition = if pruned.still_too_large {
                let reason = "larger than `retention_size`, and all that is left is unfinished or set aside: \
                              look at `longshore notices --state quarantined`, or give it more room";
                Condition::Degraded { reason: reason.to_owned() }
            } else {
                Condition::Good { note: "within its bounds".to_owned() }
            };
            context.health.set("retention", condition);
            true
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "old notices could not be pruned; trying again later");
            context.health.set("retention", Condition::Degraded { reason: error.to_string() });
            false
        }
    }
}

/// Writes the daemon's own state into the inbox, where `longshore status` of another process finds it.
struct Reporter {
    ledger: Arc<dyn Ledger>,
    context: Context,
    report: DaemonReport,
    last_resort: LastResort,
}

impl Reporter {
    fn new(ledger: Arc<dyn Ledger>, duty: Duty, context: Context, last_resort: LastResort) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let pid = std::process::id();
        let report = DaemonReport {
            instance: format!("{host}/{pid}"),
            mode: duty.as_str().to_owned(),
            pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: context.clock.now(),
            parts: Vec::new(),
        };
        Self { ledger, context, report, last_resort }
    }

    async fn report(&self) {
        let report = DaemonReport { parts: self.context.health.parts(), ..self.report.clone() };
        match self.ledger.report(report).await {
            Ok(()) => self.context.health.recover("inbox"),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the daemon's state could not be written to the inbox");
                self.context.health.set("inbox", Condition::Degraded { reason: error.to_string() });
                self.last_resort.look_at(&error);
            }
        }
    }

    async fn leave(&self) {
        if let Err(error) = self.ledger.leave(self.report.instance.clone()).await {
            tracing::warn!(error = %chain(&error), "the daemon's state could not be taken out of the inbox");
        }
    }
}

/// Measures the inbox at each scrape.
pub(super) struct InboxGauges {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    holds: InboxHolds,
}

impl InboxGauges {
    pub(super) fn register(ledger: Arc<dyn Ledger>, context: &Context) -> Arc<dyn BeforeMetrics> {
        let holds = context.metrics.add(InboxHolds::register);
        Arc::new(Self { ledger, clock: Arc::clone(&context.clock), holds })
    }

    fn set(&self, summary: &Summary) {
        let holds = &self.holds;
        let counts = summary.notices;
        for (state, count) in [
            ("heard", counts.heard),
            ("open", counts.open),
            ("finished", counts.finished),
            ("skipped", counts.skipped),
            ("quarantined", counts.quarantined),
        ] {
            holds.notices.get_or_create(&StateLabel { state }).set(count);
        }
        let waiting = summary.oldest_waiting.map_or(0, |oldest| self.clock.now().since(oldest.stored).as_secs());
        holds.oldest_waiting_seconds.set(waiting);
        let parked = summary.parked;
        holds.parked_records.set(parked.records);
        holds.parked_bytes.set(parked.bytes);
        holds.parked_oldest_seconds.set(parked.oldest.map_or(0, |oldest| self.clock.now().since(oldest).as_secs()));
        holds.outlived_keys.set(summary.outlived_keys);
        holds.unbalanced.set(summary.unbalanced);
        holds.audit_findings.set(summary.audit.map_or(0, |audit| audit.findings));
        let audited = summary.audit.map_or(0, |audit| audit.at.0.div_euclid(1000));
        holds.audit_time_seconds.set(u64::try_from(audited).unwrap_or(0));
        holds.database_bytes.set(summary.database_bytes);
        holds.log_bytes.set(summary.log_bytes);
    }
}

#[async_trait]
impl BeforeMetrics for InboxGauges {
    async fn refresh(&self) {
        match self.ledger.summary().await {
            Ok(summary) => self.set(&summary),
            Err(error) => tracing::warn!(error = %chain(&error), "the inbox could not be measured"),
        }
    }
}
