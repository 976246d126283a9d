//! A drop as it is configured: its settings, the way to it, and what the daemon lends. Whoever takes files of it has one,
//! the feed's loop as well as people.

use super::settings::DropSettings;
use super::source::Way;
use crate::ops::Context;
use crate::ops::metrics::FeedOutcomeLabels;

/// A drop.
pub(super) struct Site {
    pub(super) settings: DropSettings,
    pub(super) way: Way,
    pub(super) context: Context,
}

impl Site {
    /// The drop that `settings` name. Nothing is connected yet.
    pub(super) fn new(settings: DropSettings, context: Context) -> Self {
        Self { way: Way::new(settings.source.clone()), settings, context }
    }

    /// Counts a file that was looked at, by what became of it.
    pub(super) fn count(&self, outcome: &str) {
        let labels = FeedOutcomeLabels { feed: self.settings.name.to_string(), outcome: outcome.to_owned() };
        self.context.metrics.drop_files.get_or_create(&labels).inc();
    }
}
