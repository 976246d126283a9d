//! How long to wait before asking again: it grows, has an end, and is never the same for two daemons.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Class;

/// Where chance comes from, so that tests can choose it.
#[derive(Clone)]
pub(super) struct Jitter(Arc<dyn Fn() -> f64 + Send + Sync>);

impl Jitter {
    /// Numbers from 0 up to 1 that nobody can foresee.
    pub fn random() -> Self {
        Self(Arc::new(fastrand::f64))
    }

    /// Always `number`.
    #[cfg(test)]
    pub fn fixed(number: f64) -> Self {
        Self(Arc::new(move || number))
    }

    /// Between a half and the whole of `wait`: several daemons drift apart, and none asks much too early.
    fn of(&self, wait: Duration) -> Duration {
        wait.mul_f64(0.5 + (self.0)().clamp(0.0, 1.0) / 2.0)
    }
}

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jitter")
    }
}

/// A `Retry-After` is obeyed up to this; a longer one is a mistake that would silence us for good.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// A token that is refused right after it was handed out: 5 s, then twice as long each time, up to `longest`. Rotating
/// keys takes the vendor seconds, so a shorter first wait would meet the same keys.
pub(super) fn after_refusal(refusals: u32, longest: Duration, jitter: &Jitter) -> Duration {
    jitter.of(grown(Duration::from_secs(5), refusals, longest))
}

/// A refresh that failed for the `failures`-th time in a row. What may pass by itself is tried again within a minute; what
/// a person must mend (a certificate, a permission) within five, so that mending it is noticed soon enough.
pub(super) fn after_failure(class: Class, failures: u32, retry_after: Option<Duration>, jitter: &Jitter) -> Duration {
    let (first, longest) = match class {
        Class::Transient | Class::Throttled => (Duration::from_secs(1), Duration::from_secs(60)),
        _ => (Duration::from_secs(10), Duration::from_secs(300)),
    };
    let own = jitter.of(grown(first, failures, longest));
    retry_after.map_or(own, |asked| own.max(asked.min(RETRY_AFTER_MAX)))
}

fn grown(first: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 1_u32 << times.saturating_sub(1).min(16);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_have_an_end() {
        let jitter = Jitter::fixed(1.0);
        let waits: Vec<u64> = (1..=9).map(|n| after_failure(Class::Transient, n, None, &jitter).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(after_failure(Class::Unauthorized, u32::MAX, None, &jitter), Duration::from_secs(300));
        assert_eq!(after_refusal(3, Duration::from_secs(300), &jitter), Duration::from_secs(20));
        assert_eq!(after_refusal(99, Duration::from_secs(300), &jitter), Duration::from_secs(300));
    }

    #[test]
    fn a_retry_after_is_obeyed_within_reason() {
        let jitter = Jitter::fixed(0.0);
        let wait = |asked| after_failure(Class::Throttled, 1, Some(Duration::from_secs(asked)), &jitter);
        assert_eq!(wait(120), Duration::from_secs(120));
        assert_eq!(wait(1_000_000), RETRY_AFTER_MAX);
        assert_eq!(wait(0), Duration::from_millis(500));
    }
}
