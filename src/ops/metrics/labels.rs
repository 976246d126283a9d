//! What tells the series of one metric apart.

use prometheus_client::encoding::EncodeLabelSet;

/// Labels of what a feed counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct FeedLabels {
    /// The feed's name.
    pub feed: String,
}

/// Labels of what a feed counts by outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct FeedOutcomeLabels {
    /// The feed's name.
    pub feed: String,
    /// What became of it.
    pub outcome: String,
}

/// Labels of what a delivery counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// The route's name.
    pub route: String,
    /// What became of it.
    pub outcome: String,
}

/// Labels of a message or an address that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct RefusedLabels {
    /// The feed that heard it.
    pub feed: String,
    /// Which rule it breaks.
    pub reason: String,
}

/// Labels of what a webhook answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct WebhookLabels {
    /// The feed's name.
    pub feed: String,
    /// How the request ended.
    pub outcome: String,
}

/// Labels of what is told by the state of notices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct StateLabel {
    /// The state.
    pub state: &'static str,
}
