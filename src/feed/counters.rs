//! What a feed counts that asks its source.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::notice::FeedName;
use crate::ops::metrics::{FeedLabels, Metrics};

/// The feed's counters, looked up once.
pub(super) struct Counters {
    stored: Counter,
    duplicates: Counter,
    settled: Counter,
    asked: Counter,
}

impl Counters {
    /// `asked` is what counts how often the source was asked.
    pub(super) fn new(feed: &FeedName, metrics: &Metrics, asked: &Family<FeedLabels, Counter>) -> Self {
        let labels = FeedLabels { feed: feed.to_string() };
        Self {
            stored: metrics.notices_stored.get_or_create(&labels).clone(),
            duplicates: metrics.notices_duplicate.get_or_create(&labels).clone(),
            settled: metrics.notices_settled.get_or_create(&labels).clone(),
            asked: asked.get_or_create(&labels).clone(),
        }
    }

    /// Counts notices that a commit returned, of which some were there before.
    pub(super) fn count_stored(&self, count: u64, duplicates: u64) {
        self.duplicates.inc_by(duplicates);
        self.stored.inc_by(count - duplicates);
    }

    /// Counts notices that the source was told of.
    pub(super) fn count_settled(&self, count: u64) {
        self.settled.inc_by(count);
    }

    /// Counts how often the source was asked.
    pub(super) fn count_asked(&self, count: u64) {
        self.asked.inc_by(count);
    }
}
