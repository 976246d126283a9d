//! Loops that outlive a panic.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::health::{Condition, Health};

/// How long a loop that panicked waits before it begins again: one that panics each time is no flood in the journal.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a loop to its end, and begins it anew when it panics, until `stop`. Without this a panic would cost the daemon
/// a feed, its planner or a worker for good, while everything else goes on and looks well.
pub async fn unbroken<F: Future<Output = ()>>(
    health: &Health,
    part: &str,
    stop: &CancellationToken,
    mut begin: impl FnMut() -> F,
) {
    while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
        tracing::error!(part, "longshore panicked, and begins this part anew; the place is above, please report it");
        let reason = "longshore panicked over it and begins it anew; the journal has the place, please report it";
        health.set(part, Condition::Degraded { reason: reason.to_owned() });
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{ManualClock, UnixMs};

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_is_begun_anew_and_says_so() {
        let health = Health::new(Arc::new(ManualClock::new(UnixMs(0))));
        let mut begun = 0;
        let work = || {
            begun += 1;
            let first = begun == 1;
            async move { assert!(!first, "the first time breaks") }
        };
        unbroken(&health, "feed eg", &CancellationToken::new(), work).await;
        assert_eq!(begun, 2);
        assert!(matches!(health.parts()[0].condition, Condition::Degraded { .. }));
    }
}
