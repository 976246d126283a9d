//! How long to wait before the next connection.

use std::time::Duration;

/// Waits that double from the first to the longest, each with jitter, so that many clients of one broker do not come
/// back in step. Whatever ended the connection, the next wait is the longer one; only good time starts it over.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    good_after: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new((first, longest): (Duration, Duration), good_after: Duration) -> Self {
        Self { first, longest, good_after, next: first }
    }

    /// The wait after a connection that was good for `good`; at least `wait_min`.
    pub(super) fn after(&mut self, good: Duration, wait_min: Duration) -> Duration {
        if good >= self.good_after {
            self.next = self.first;
        }
        let whole = self.next.min(self.longest);
        self.next = whole.saturating_mul(2).min(self.longest);
        whole.mul_f64(fastrand::f64().mul_add(0.5, 0.5)).max(wait_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_over_only_after_good_time() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new((second, 60 * second), 300 * second);
        let mut whole = second;
        for _ in 0..10 {
            let wait = backoff.after(299 * second, Duration::ZERO);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} is not within {whole:?}");
            whole = (2 * whole).min(60 * second);
        }
        assert!(backoff.after(300 * second, Duration::ZERO) <= second);
        assert_eq!(backoff.after(Duration::ZERO, 99 * second), 99 * second);
    }
}
