//! Says when this machine's clock was set, and what the inbox makes of it.

use crate::inbox::SharedInbox;
use crate::ops::metrics::Clocks;
use crate::ops::{Condition, Context};
use crate::steady::{LEAD_MAX, describe_lead};

/// The name under which it reports.
const PART: &str = "time";

/// Compares the inbox's steady clock with the machine's.
pub(super) struct Times {
    inbox: SharedInbox,
    context: Context,
    clocks: Clocks,
    /// What the lead was at the last look.
    last_ms: i64,
}

impl Times {
    pub(super) fn new(inbox: SharedInbox, context: &Context) -> Self {
        Self { inbox, clocks: context.metrics.add(Clocks::register), context: context.clone(), last_ms: 0 }
    }

    /// To be called now and then.
    pub(super) fn look(&mut self) {
        let lead_ms = self.context.clock.now().0.saturating_sub(self.inbox.now().0);
        self.clocks.lead_seconds.set(lead_ms / 1_000);
        let is_far = |ms: i64| u128::from(ms.unsigned_abs()) > LEAD_MAX.as_millis();
        // Catching up makes the lead smaller, and never larger.
        if is_far(lead_ms) && is_far(lead_ms - self.last_ms) && lead_ms.abs_diff(0) > self.last_ms.abs_diff(0) {
            self.clocks.jumps.inc();
            tracing::warn!(lead_ms, "this machine's clock {}", describe_lead(lead_ms));
        }
        if is_far(lead_ms) {
            let reason = format!("this machine's clock {}; check its time synchronisation", describe_lead(lead_ms));
            self.context.health.set(PART, Condition::Degraded { reason });
        } else {
            if is_far(self.last_ms) {
                tracing::info!("this machine's clock and the inbox's agree again");
            }
            self.context.health.recover(PART);
        }
        self.last_ms = lead_ms;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, ManualClock, UnixMs};
    use crate::inbox::{InboxSettings, ParkingBounds, SqliteInbox};

    #[tokio::test]
    async fn a_clock_that_is_set_is_told_once_and_until_it_is_caught_up_with() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(UnixMs(1_700_000_000_000));
        let settings = InboxSettings {
            path: folder.path().join("inbox.db"),
            retention_age: Duration::from_secs(3_600),
            retention_bytes: None,
            dedupe_age: Duration::from_secs(3_600),
            commit_notices_max: 10,
            parking: ParkingBounds::default(),
        };
        let inbox = Arc::new(SqliteInbox::open(&settings, Arc::new(clock.clone())).unwrap());
        let context = Context::new(Arc::new(clock.clone()));
        let mut times = Times::new(inbox, &context);
        let told = |times: &mut Times| {
            times.look();
            context.health.parts().iter().find(|part| part.name == PART).map(|part| part.condition.clone())
        };
        assert_eq!(told(&mut times), None);
        clock.set(clock.now().plus(Duration::from_secs(24 * 3_600)));
        let Some(Condition::Degraded { reason }) = told(&mut times) else { panic!("it is said") };
        assert!(reason.contains("was set forward by about 24 h"), "{reason}");
        for _ in 0..24 * 60 {
            clock.advance(Duration::from_secs(60));
            times.look();
        }
        assert!(matches!(told(&mut times), Some(Condition::Good { .. })));
        clock.set(clock.now().minus(Duration::from_secs(600)));
        let Some(Condition::Degraded { reason }) = told(&mut times) else { panic!("it is said") };
        assert!(reason.contains("was set back by about 10 min"), "{reason}");
        assert_eq!(times.clocks.jumps.get(), 2, "each time once");
    }
}
