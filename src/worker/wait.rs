//! How the loops of this room wait: each with an end to it, and none through a change or a stop.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Classify, chain};
use crate::inbox::InboxError;
use crate::ops::{Condition, Context};

/// A loop with nothing to do looks again after this long, whatever it was told: the clock may have jumped.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(10);

/// After an inbox error, wait this long before asking again.
const INBOX_PAUSE: Duration = Duration::from_secs(1);

/// A loop that shows no sign of life for this long stands still: longer than any time limit within a delivery.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Waits until something changes in the inbox, for `wait` at most.
pub(super) async fn idle(wait: Duration, changes: &mut watch::Receiver<u64>, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        // The sender lives as long as the workers.
        _ = changes.changed() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

/// Waits for `wait`, whatever changes in the inbox.
pub(super) async fn pause(wait: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

/// Says what the inbox could not do, and waits before it is asked again.
pub(super) async fn pause_after(error: &InboxError, what: &str, context: &Context, stop: &CancellationToken) {
    tracing::error!(error = %chain(error), class = %error.class(), "{what}; trying again");
    context.health.set("inbox", Condition::Degraded { reason: error.to_string() });
    pause(INBOX_PAUSE, stop).await;
}
