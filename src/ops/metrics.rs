//! What the daemon counts, in the Prometheus text format. Names are `longshore_<noun>_<unit>_total`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::notice::FeedName;

/// Labels of what a feed counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedLabels {
    /// The feed's name.
    pub feed: String,
}

/// Labels of what a feed counts by outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedOutcomeLabels {
    /// The feed's name.
    pub feed: String,
    /// What became of it.
    pub outcome: String,
}

/// Labels of what a delivery counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// The route's name.
    pub route: String,
    /// What became of it.
    pub outcome: String,
}

/// Labels of a message or an address that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    /// The feed that heard it.
    pub feed: String,
    /// Which rule it breaks.
    pub reason: String,
}

/// Labels of what a webhook answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabels {
    /// The feed's name.
    pub feed: String,
    /// How the request ended.
    pub outcome: String,
}

/// Times of answers, in seconds: from what an fsync takes to what a sender waits.
fn answer_seconds() -> Histogram {
    Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

/// Every metric of the daemon. A family is registered once, in [`Metrics::default`], with its help text.
pub struct Metrics {
    registry: Mutex<Registry>,
    computed: Arc<Computed>,
    /// Notices stored for the first time.
    pub notices_stored: Family<FeedLabels, Counter>,
    /// Notices that arrived again.
    pub notices_duplicate: Family<FeedLabels, Counter>,
    /// Notices settled with their source.
    pub notices_settled: Family<FeedLabels, Counter>,
    /// Times that a feed connected to its source.
    pub feed_connections: Family<FeedLabels, Counter>,
    /// Looks at a dropped file that ended, by outcome (`taken`, `duplicate`, `quarantined`, `incomplete`, `changed`).
    pub drop_files: Family<FeedOutcomeLabels, Counter>,
    /// CSV files whose columns are not those of the last one of the same blob type.
    pub column_drifts: Family<FeedLabels, Counter>,
    /// Pages of listings that a feed asked its source for.
    pub feed_lists: Family<FeedLabels, Counter>,
    /// Requests to a webhook, by how they ended.
    pub webhook_requests: Family<WebhookLabels, Counter>,
    /// Seconds from a request's headers to its durable 200.
    pub webhook_answer_seconds: Family<FeedLabels, Histogram, fn() -> Histogram>,
    /// Successful refreshes of the vendor's tokens.
    pub token_refreshes: Counter,
    /// Refreshes of the vendor's tokens that failed.
    pub token_refresh_failures: Counter,
    /// Deliveries that ended, by route and outcome (`done`, `retry`, `quarantined`).
    pub deliveries: Family<OutcomeLabels, Counter>,
    /// Records, by route and outcome (`read`, `delivered`, `filtered`, `parked`, `quarantined`). A parked record counts
    /// once as read and as parked, and once more under its outcome when it has been woken.
    pub records: Family<OutcomeLabels, Counter>,
    /// Messages that were not decoded, and set aside: they are untrusted input.
    pub refused_messages: Family<RefusedLabels, Counter>,
    /// Addresses in notices that were refused: they are untrusted input.
    pub refused_addresses: Family<RefusedLabels, Counter>,
    /// Records that were parked.
    pub records_parked: Counter,
    /// Parked records that were woken: by their parent, their deadline or by hand.
    pub records_woken: Counter,
    /// Records of exports that were compared, by outcome: `known` and `missing` (once a file is done), `nameless`.
    pub records_reconciled: Family<FeedOutcomeLabels, Counter>,
    /// Decompressed bytes read from payloads.
    pub payload_bytes: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            computed: Arc::default(),
            notices_stored: Family::default(),
            notices_duplicate: Family::default(),
            notices_settled: Family::default(),
            feed_connections: Family::default(),
            drop_files: Family::default(),
            column_drifts: Family::default(),
            feed_lists: Family::default(),
            webhook_requests: Family::default(),
            webhook_answer_seconds: Family::new_with_constructor(answer_seconds),
            token_refreshes: Counter::default(),
            token_refresh_failures: Counter::default(),
            deliveries: Family::default(),
            records: Family::default(),
            refused_messages: Family::default(),
            refused_addresses: Family::default(),
            records_parked: Counter::default(),
            records_woken: Counter::default(),
            records_reconciled: Family::default(),
            payload_bytes: Counter::default(),
        };
        {
            let mut registry = metrics.registry.lock().unwrap_or_else(PoisonError::into_inner);
            // The encoder appends `_total` to a counter's name.
            registry.register(
                "longshore_notices_stored",
                "Notices stored for the first time",
                metrics.notices_stored.clone(),
            );
            registry.register(
                "longshore_notices_duplicate",
                "Notices that arrived again",
                metrics.notices_duplicate.clone(),
            );
            registry.register(
                "longshore_notices_settled",
                "Notices settled with their source",
                metrics.notices_settled.clone(),
            );
            registry.register(
                "longshore_feed_connections",
                "Times that a feed connected",
                metrics.feed_connections.clone(),
            );
            registry.register("longshore_drop_files", "Dropped files, by outcome", metrics.drop_files.clone());
            registry.register(
                "longshore_column_drifts",
                "CSV files with other columns than the last one",
                metrics.column_drifts.clone(),
            );
            registry.register(
                "longshore_feed_lists",
                "Pages of listings that a feed asked for",
                metrics.feed_lists.clone(),
            );
            registry.register(
                "longshore_webhook_requests",
                "Requests to a webhook, by how they ended",
                metrics.webhook_requests.clone(),
            );
            registry.register(
                "longshore_webhook_answer_seconds",
                "Seconds from a request's headers to its durable 200",
                metrics.webhook_answer_seconds.clone(),
            );
            registry.register(
                "longshore_token_refreshes",
                "Successful token refreshes",
                metrics.token_refreshes.clone(),
            );
            registry.register(
                "longshore_token_refresh_failures",
                "Failed token refreshes",
                metrics.token_refresh_failures.clone(),
            );
            registry.register("longshore_deliveries", "Deliveries that ended, by outcome", metrics.deliveries.clone());
            registry.register("longshore_records", "Records, by outcome", metrics.records.clone());
            registry.register(
                "longshore_refused_messages",
                "Messages that were not decoded and were set aside, by what is wrong with them",
                metrics.refused_messages.clone(),
            );
            registry.register(
                "longshore_refused_addresses",
                "Addresses in notices that were refused, by the rule that they break",
                metrics.refused_addresses.clone(),
            );
            registry.register(
                "longshore_records_parked",
                "Records parked until their parent lands",
                metrics.records_parked.clone(),
            );
            registry.register("longshore_records_woken", "Parked records let go again", metrics.records_woken.clone());
            registry.register(
                "longshore_records_reconciled",
                "Records of exports compared with what a webhook brought, by outcome",
                metrics.records_reconciled.clone(),
            );
            registry.register("longshore_payload_bytes", "Decompressed bytes read", metrics.payload_bytes.clone());
            registry.register_collector(Box::new(Arc::clone(&metrics.computed)));
        }
        metrics
    }
}

type Value = Box<dyn Fn() -> Option<i64> + Send + Sync>;

/// A gauge that is computed when it is read.
struct ComputedGauge {
    help: &'static str,
    sources: BTreeMap<String, Value>,
}

/// Computed gauges, by name.
#[derive(Default)]
struct Computed(Mutex<BTreeMap<&'static str, ComputedGauge>>);

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Computed")
    }
}

impl Collector for Computed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for (name, ComputedGauge { help, sources }) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let values: Vec<_> = sources.iter().filter_map(|(source, value)| Some((source, value()?))).collect();
            let Some((_, first)) = values.first() else {
                continue;
            };
            let kind = ConstGauge::new(*first).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (source, value) in values {
                let labels = [("source", source.as_str())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Counts an address that `feed` heard and that is refused for `reason`.
    pub fn count_refused_address(&self, feed: &FeedName, reason: &str) {
        let labels = RefusedLabels { feed: feed.to_string(), reason: reason.to_owned() };
        self.refused_addresses.get_or_create(&labels).inc();
    }

    /// Counts a message that `feed` heard and that is refused for `reason`.
    pub fn count_refused_message(&self, feed: &FeedName, reason: &str) {
        let labels = RefusedLabels { feed: feed.to_string(), reason: reason.to_owned() };
        self.refused_messages.get_or_create(&labels).inc();
    }

    /// Adds a gauge whose value is computed when it is read; `None` leaves it out. Several sources may share a name,
    /// which is why they are kept together: a name may be described only once in the text.
    pub fn computed_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        source: &str,
        value: impl Fn() -> Option<i64> + Send + Sync + 'static,
    ) {
        let mut gauges = self.computed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = gauges.entry(name).or_insert_with(|| ComputedGauge { help, sources: BTreeMap::new() });
        gauge.sources.insert(source.to_owned(), Box::new(value));
    }

    /// Adds metrics that another part provides, such as the gauges of the inbox.
    pub fn with_registry(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computed_gauge_is_described_once_and_read_as_it_is_now() {
        let metrics = Metrics::default();
        let now = Arc::new(std::sync::atomic::AtomicI64::new(1));
        let reads = Arc::clone(&now);
        let read = move || Some(reads.load(std::sync::atomic::Ordering::SeqCst));
        metrics.computed_gauge("longshore_test_seconds", "A test", "one", read);
        metrics.computed_gauge("longshore_test_seconds", "A test", "two", || Some(-2));
        metrics.computed_gauge("longshore_test_seconds", "A test", "none", || None);
        now.store(7, std::sync::atomic::Ordering::SeqCst);
        let text = metrics.encode().expect("text");
        assert_eq!(text.matches("# TYPE longshore_test_seconds gauge").count(), 1, "{text}");
        assert!(text.contains("longshore_test_seconds{source=\"one\"} 7\n"), "{text}");
        assert!(text.contains("longshore_test_seconds{source=\"two\"} -2\n"), "{text}");
        assert!(!text.contains("none"), "{text}");
    }
}
