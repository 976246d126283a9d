//! What the daemon counts, in the Prometheus text format. Names are `longshore_<noun>_<unit>_total`.
//!
//! ```text
//! table: name, help, kind ──┬─> Counted, and the groups that other parts add ─> registry ─┐
//!                           ├─> computed gauges, of many sources ───────────────> registry ─┴─> encode
//!                           └─> deploy/metrics.md (held to it by a test)
//! ```

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

use crate::notice::FeedName;

mod computed;
mod labels;
mod table;
#[cfg(test)]
mod tests;

pub use labels::{FeedLabels, FeedOutcomeLabels, OutcomeLabels, RefusedLabels, StateLabel, WebhookLabels};
pub use table::{Clocks, ComputedGauge, Counted, InboxHolds, Order};

use computed::Computed;

/// All that is told of this process. It derefs to what every part counts.
pub struct Metrics {
    registry: Mutex<Registry>,
    computed: Arc<Computed>,
    counted: Counted,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let counted = Counted::register(&mut registry);
        let computed = Arc::<Computed>::default();
        registry.register_collector(Box::new(Arc::clone(&computed)));
        Self { registry: Mutex::new(registry), computed, counted }
    }
}

impl Deref for Metrics {
    type Target = Counted;

    fn deref(&self) -> &Counted {
        &self.counted
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

    /// Adds a gauge whose value is computed when it is read; `None` leaves it out.
    pub fn computed_gauge(
        &self,
        gauge: ComputedGauge,
        source: &str,
        value: impl Fn() -> Option<i64> + Send + Sync + 'static,
    ) {
        self.computed.add(gauge, source, Box::new(value));
    }

    /// Adds the metrics of a part that not every process has, such as [`InboxHolds::register`].
    pub fn add<G>(&self, register: impl FnOnce(&mut Registry) -> G) -> G {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
