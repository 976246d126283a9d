//! Keeps the inbox: writes down how the daemon is, prunes what is old, and measures it for the metrics.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::error::chain;
use crate::inbox::InboxSettings;
use crate::inbox::ledger::{DaemonReport, Ledger, REPORT_EVERY, Retention, Summary};
use crate::ops::http::BeforeMetrics;
use crate::ops::{Condition, Context};

use super::Duty;
use super::times::Times;

/// A change of health is written down at once, but not more often than this: a flapping connection is no flood.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// How often old notices are looked for. Each look is a query that finds nothing most of the time.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// How long to wait after a look that failed: a disk that works again shall not be called broken for long.
const PRUNE_AGAIN: Duration = Duration::from_secs(15);

/// Keeps the inbox until `stop`.
pub(super) async fn keep(
    ledger: Arc<dyn Ledger>,
    mut times: Times,
    settings: InboxSettings,
    duty: Duty,
    context: Context,
    stop: CancellationToken,
) {
    let reporter = Reporter::new(Arc::clone(&ledger), duty, context.clone());
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
}

impl Reporter {
    fn new(ledger: Arc<dyn Ledger>, duty: Duty, context: Context) -> Self {
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
        Self { ledger, context, report }
    }

    async fn report(&self) {
        let report = DaemonReport { parts: self.context.health.parts(), ..self.report.clone() };
        match self.ledger.report(report).await {
            Ok(()) => self.context.health.recover("inbox"),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the daemon's state could not be written to the inbox");
                self.context.health.set("inbox", Condition::Degraded { reason: error.to_string() });
            }
        }
    }

    async fn leave(&self) {
        if let Err(error) = self.ledger.leave(self.report.instance.clone()).await {
            tracing::warn!(error = %chain(&error), "the daemon's state could not be taken out of the inbox");
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

type Gauge64 = Gauge<u64, AtomicU64>;

/// Gauges that are read from the inbox at each scrape.
pub(super) struct InboxGauges {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn crate::clock::Clock>,
    notices: Family<StateLabel, Gauge64>,
    oldest_waiting_seconds: Gauge64,
    parked_records: Gauge64,
    parked_bytes: Gauge64,
    parked_oldest_seconds: Gauge64,
    outlived_keys: Gauge64,
    unbalanced: Gauge64,
    audit_findings: Gauge64,
    audit_time_seconds: Gauge64,
    database_bytes: Gauge64,
    log_bytes: Gauge64,
}

impl InboxGauges {
    pub(super) fn register(ledger: Arc<dyn Ledger>, context: &Context) -> Arc<dyn BeforeMetrics> {
        let gauges = Self {
            ledger,
            clock: Arc::clone(&context.clock),
            notices: Family::default(),
            oldest_waiting_seconds: Gauge::default(),
            parked_records: Gauge::default(),
            parked_bytes: Gauge::default(),
            parked_oldest_seconds: Gauge::default(),
            outlived_keys: Gauge::default(),
            unbalanced: Gauge::default(),
            audit_findings: Gauge::default(),
            audit_time_seconds: Gauge::default(),
            database_bytes: Gauge::default(),
            log_bytes: Gauge::default(),
        };
        context.metrics.with_registry(|registry| {
            registry.register("longshore_inbox_notices", "Notices in the inbox, by state", gauges.notices.clone());
            registry.register(
                "longshore_inbox_oldest_waiting_seconds",
                "Age of the oldest notice that is not finished",
                gauges.oldest_waiting_seconds.clone(),
            );
            registry.register(
                "longshore_parked_records",
                "Records that wait for their parent",
                gauges.parked_records.clone(),
            );
            registry.register("longshore_parked_bytes", "Bytes of parked records", gauges.parked_bytes.clone());
            registry.register(
                "longshore_parked_oldest_seconds",
                "How long the oldest parked record has waited",
                gauges.parked_oldest_seconds.clone(),
            );
            registry.register(
                "longshore_inbox_outlived_keys",
                "Keys of notices that were pruned early, kept to know what comes again",
                gauges.outlived_keys.clone(),
            );
            registry.register(
                "longshore_inbox_unbalanced_deliveries",
                "Deliveries whose account does not add up",
                gauges.unbalanced.clone(),
            );
            registry.register(
                "longshore_inbox_audit_findings",
                "What did not add up in the latest audit",
                gauges.audit_findings.clone(),
            );
            registry.register(
                "longshore_inbox_audit_time_seconds",
                "When the latest audit was done, in seconds since 1970 UTC; 0 for never",
                gauges.audit_time_seconds.clone(),
            );
            registry.register("longshore_inbox_database_bytes", "Size of the database", gauges.database_bytes.clone());
            registry.register("longshore_inbox_wal_bytes", "Size of the write-ahead log", gauges.log_bytes.clone());
        });
        Arc::new(gauges)
    }

    fn set(&self, summary: &Summary) {
        let counts = summary.notices;
        for (state, count) in [
            ("heard", counts.heard),
            ("open", counts.open),
            ("finished", counts.finished),
            ("skipped", counts.skipped),
            ("quarantined", counts.quarantined),
        ] {
            self.notices.get_or_create(&StateLabel { state }).set(count);
        }
        let waiting = summary.oldest_waiting.map_or(0, |oldest| self.clock.now().since(oldest.stored).as_secs());
        self.oldest_waiting_seconds.set(waiting);
        let parked = summary.parked;
        self.parked_records.set(parked.records);
        self.parked_bytes.set(parked.bytes);
        self.parked_oldest_seconds.set(parked.oldest.map_or(0, |oldest| self.clock.now().since(oldest).as_secs()));
        self.outlived_keys.set(summary.outlived_keys);
        self.unbalanced.set(summary.unbalanced);
        self.audit_findings.set(summary.audit.map_or(0, |audit| audit.findings));
        let audited = summary.audit.map_or(0, |audit| audit.at.0.div_euclid(1000));
        self.audit_time_seconds.set(u64::try_from(audited).unwrap_or(0));
        self.database_bytes.set(summary.database_bytes);
        self.log_bytes.set(summary.log_bytes);
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
