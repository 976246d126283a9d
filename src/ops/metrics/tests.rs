use std::fmt::Write as _;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;

use super::*;

/// Makes a series of a metric.
pub(super) trait Sample {
    fn sample(&self) {}
}

impl Sample for Counter {}
impl Sample for Gauge<u64, AtomicU64> {}
impl Sample for Gauge<i64, AtomicI64> {}
impl<S: Clone + Hash + Eq + Default, M, C: MetricConstructor<M>> Sample for Family<S, M, C> {
    fn sample(&self) {
        drop(self.get_or_create(&S::default()));
    }
}

/// Each metric as the text describes it.
fn listed(text: &str) -> String {
    let mut list = String::from("| metric | kind | labels | what it tells |\n|---|---|---|---|\n");
    for described in text.split("# HELP ").skip(1) {
        let mut lines = described.lines();
        let (name, help) = lines.next().and_then(|line| line.split_once(' ')).expect("a name and a help text");
        let kind = lines.next().and_then(|line| line.rsplit(' ').next()).expect("a kind");
        let series = lines.next().and_then(|line| line.split(' ').next()).expect("a series");
        let (series, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels: Vec<_> =
            labels.split(',').filter_map(|label| Some(format!("`{}`", label.split_once('=')?.0))).collect();
        // A histogram is many series of the name and an ending.
        let name = if kind == "histogram" { name } else { series };
        writeln!(list, "| `{name}` | {kind} | {} | {} |", labels.join(", "), help.trim_end_matches('.')).expect("text");
    }
    list
}

#[test]
fn the_list_of_metrics_tells_all_of_the_table() {
    let metrics = Metrics::default();
    metrics.sample();
    metrics.add(InboxHolds::register).sample();
    metrics.add(Clocks::register).sample();
    metrics.add(Order::register).sample();
    for gauge in ComputedGauge::ALL {
        metrics.computed_gauge(*gauge, "one", || Some(1));
    }
    let list = listed(&metrics.encode().expect("text"));
    let told = include_str!("../../../deploy/metrics.md");
    assert!(told.ends_with(&format!("\n\n{list}")), "deploy/metrics.md is to end with this:\n\n{list}");
}

#[test]
fn a_computed_gauge_is_described_once_and_read_as_it_is_now() {
    let metrics = Metrics::default();
    let now = Arc::new(AtomicI64::new(1));
    let reads = Arc::clone(&now);
    let read = move || Some(reads.load(Ordering::SeqCst));
    metrics.computed_gauge(ComputedGauge::FeedLateDays, "one", read);
    metrics.computed_gauge(ComputedGauge::FeedLateDays, "two", || Some(-2));
    metrics.computed_gauge(ComputedGauge::FeedLateDays, "none", || None);
    now.store(7, Ordering::SeqCst);
    let text = metrics.encode().expect("text");
    assert_eq!(text.matches("# TYPE longshore_feed_late_days gauge").count(), 1, "{text}");
    assert!(text.contains("longshore_feed_late_days{source=\"one\"} 7\n"), "{text}");
    assert!(text.contains("longshore_feed_late_days{source=\"two\"} -2\n"), "{text}");
    assert!(!text.contains("none"), "{text}");
}
