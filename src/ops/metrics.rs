//! What the daemon counts, in the Prometheus text format. Names are `longshore_<noun>_<unit>_total`.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Labels of what a feed counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedLabels {
    /// The feed's name.
    pub feed: String,
}

/// Labels of what a delivery counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// The route's name.
    pub route: String,
    /// What became of it.
    pub outcome: String,
}

/// Every metric of the daemon. A family is registered once, in [`Metrics::default`], with its help text.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Notices stored for the first time.
    pub notices_stored: Family<FeedLabels, Counter>,
    /// Notices that arrived again.
    pub notices_duplicate: Family<FeedLabels, Counter>,
    /// Notices settled with their source.
    pub notices_settled: Family<FeedLabels, Counter>,
    /// Times that a feed connected to its source.
    pub feed_connections: Family<FeedLabels, Counter>,
    /// Successful refreshes of the vendor's tokens.
    pub token_refreshes: Counter,
    /// Refreshes of the vendor's tokens that failed.
    pub token_refresh_failures: Counter,
    /// Deliveries that ended, by route and outcome (`done`, `retry`, `quarantined`).
    pub deliveries: Family<OutcomeLabels, Counter>,
    /// Records, by route and outcome (`read`, `delivered`, `filtered`, `parked`, `quarantined`).
    pub records: Family<OutcomeLabels, Counter>,
    /// Decompressed bytes read from payloads.
    pub payload_bytes: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            notices_stored: Family::default(),
            notices_duplicate: Family::default(),
            notices_settled: Family::default(),
            feed_connections: Family::default(),
            token_refreshes: Counter::default(),
            token_refresh_failures: Counter::default(),
            deliveries: Family::default(),
            records: Family::default(),
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
            registry.register("longshore_payload_bytes", "Decompressed bytes read", metrics.payload_bytes.clone());
        }
        metrics
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

    /// Adds metrics that another part provides, such as the gauges of the inbox.
    pub fn with_registry(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
