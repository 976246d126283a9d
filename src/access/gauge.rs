//! `longshore_token_seconds_left`: computed when it is read, so that it is never stale.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use super::TokenSet;
use crate::clock::Clock;
use crate::ops::Context;

#[derive(Debug)]
struct SecondsLeft {
    clock: Arc<dyn Clock>,
    tokens: watch::Receiver<Option<Arc<TokenSet>>>,
}

impl Collector for SecondsLeft {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(expires) = self.tokens.borrow().as_ref().and_then(|tokens| tokens.expires()) else {
            return Ok(());
        };
        let gauge = ConstGauge::new((expires.0 - self.clock.now().0) / 1_000);
        let metric = encoder.encode_descriptor(
            "longshore_token_seconds_left",
            "Seconds until the first of the vendor's tokens expires; negative once it has",
            None,
            gauge.metric_type(),
        )?;
        gauge.encode(metric)
    }
}

/// Adds the gauge to the metrics of `context`.
pub(super) fn register(context: &Context, tokens: watch::Receiver<Option<Arc<TokenSet>>>) {
    let clock = Arc::clone(&context.clock);
    context.metrics.with_registry(|registry| registry.register_collector(Box::new(SecondsLeft { clock, tokens })));
}
