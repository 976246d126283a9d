//! Gauges that are computed when they are read. Several sources may share a name, which is why they are kept together: a
//! name may be described only once in the text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::table::ComputedGauge;

type Value = Box<dyn Fn() -> Option<i64> + Send + Sync>;

/// The values of each gauge, by source.
#[derive(Default)]
pub(super) struct Computed(Mutex<BTreeMap<ComputedGauge, BTreeMap<String, Value>>>);

impl Computed {
    pub(super) fn add(&self, gauge: ComputedGauge, source: &str, value: Value) {
        let mut gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.entry(gauge).or_default().insert(source.to_owned(), value);
    }
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Computed")
    }
}

impl Collector for Computed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for (gauge, sources) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let values: Vec<_> = sources.iter().filter_map(|(source, value)| Some((source, value()?))).collect();
            let Some((_, first)) = values.first() else {
                continue;
            };
            let kind = ConstGauge::new(*first).metric_type();
            let mut family = encoder.encode_descriptor(gauge.name(), gauge.help(), None, kind)?;
            for (source, value) in values {
                let labels = [("source", source.as_str())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
