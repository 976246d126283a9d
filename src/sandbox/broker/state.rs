//! What the broker can be asked about itself, and how to wait until it is so.

use std::collections::BTreeMap;

use serde::Serialize;

/// A picture of the broker at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BrokerState {
    /// Each subscription and plain queue by its path, such as `t1/Subscriptions/s1`.
    pub subscriptions: BTreeMap<String, QueueState>,
    /// Open AMQP connections.
    pub connections: usize,
    /// AMQP connections since the start.
    pub connections_total: u64,
    /// Tokens put and accepted since the start.
    pub tokens_put: u64,
    /// Tokens put and refused since the start.
    pub tokens_refused: u64,
    /// Entity links attached since the start.
    pub links_attached: u64,
    /// Entity links refused since the start.
    pub links_refused: u64,
    /// Entity links that the broker detached since the start: expired token, rotated key, or on request.
    pub links_detached: u64,
    /// Whether the broker keeps silent.
    pub stalled: bool,
}

impl BrokerState {
    /// The subscription or queue at `path`, without regard to case; all zeros if there is none.
    #[must_use]
    pub fn subscription(&self, path: &str) -> QueueState {
        let found = self.subscriptions.iter().find(|(own, _)| own.eq_ignore_ascii_case(path));
        found.map(|(_, state)| *state).unwrap_or_default()
    }
}

/// The counts of one subscription or queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueState {
    /// Messages that wait for a receiver.
    pub active: usize,
    /// Messages under a lock.
    pub locked: usize,
    /// Messages that a receiver put off.
    pub deferred: usize,
    /// Messages in the dead-letter queue.
    pub dead_lettered: usize,
    /// Messages published since the start.
    pub published: u64,
    /// Deliveries begun since the start, redeliveries included.
    pub delivered: u64,
    /// Messages completed since the start.
    pub completed: u64,
    /// Deliveries given back as failed since the start.
    pub abandoned: u64,
    /// Locks whose time ran out since the start.
    pub locks_expired: u64,
    /// Settlements refused because the lock was lost, since the start.
    pub locks_lost: u64,
}
