//! What the service manager is told: ready, what is going on, still alive, stopping.
//!
//! Outside systemd (no `NOTIFY_SOCKET`) all of it does nothing.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::health::{Condition, Health};
use super::heartbeat::Heartbeats;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// The daemon has started and hears.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The daemon is draining.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Feeds the watchdog while every loop is alive, and keeps the status line true, until `stop`.
///
/// The watchdog is fed at a third of its time; without a watchdog only the status line is kept.
pub async fn watch(health: Arc<Health>, heartbeats: Arc<Heartbeats>, stop: CancellationToken) {
    let every = sd_notify::watchdog_enabled().map_or(Duration::from_secs(30), |limit| limit / 3);
    let feeds_watchdog = sd_notify::watchdog_enabled().is_some();
    let mut tick = tokio::time::interval(every);
    let mut changes = health.watch();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {
                let silent = heartbeats.silent();
                if !silent.is_empty() {
                    tracing::error!(loops = silent.join(", "), "standing still; the watchdog is not fed");
                } else if feeds_watchdog {
                    tell(&[NotifyState::Watchdog]);
                }
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                tell(&[NotifyState::Status(&status_line(&health))]);
            }
        }
    }
}

fn status_line(health: &Health) -> String {
    let troubles: Vec<String> = health
        .parts()
        .into_iter()
        .filter_map(|part| match part.condition {
            Condition::Degraded { reason } => Some(format!("{}: {reason}", part.name)),
            _ => None,
        })
        .collect();
    if troubles.is_empty() { "all is well".to_owned() } else { troubles.join("; ") }
}
