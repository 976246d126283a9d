//! Operations: health, metrics, and what the service manager is told.

use std::sync::Arc;

use crate::clock::Clock;

pub mod ask;
pub mod health;
pub mod heartbeat;
pub mod http;
pub mod metrics;
pub mod systemd;
mod unbroken;

pub use health::{Condition, Health};
pub use heartbeat::{Heartbeat, Heartbeats};
pub use http::OpsSettings;
pub use metrics::Metrics;
pub use unbroken::unbroken;

/// What every part of the daemon is given: the time, and where to say how it is.
#[derive(Clone, Debug)]
pub struct Context {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// How each part is.
    pub health: Arc<Health>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Which loops are alive.
    pub heartbeats: Arc<Heartbeats>,
}

impl Context {
    /// A context with empty health and metrics.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            health: Arc::new(Health::new(Arc::clone(&clock))),
            metrics: Arc::new(Metrics::default()),
            heartbeats: Arc::default(),
            clock,
        }
    }
}
