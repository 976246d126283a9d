//! How fast a body comes: one that trickles in never stands still for long enough to be broken off for that, and would
//! keep a worker for days.

use std::time::Duration;

/// How much waiting is measured at once. Shorter: a store that takes a breath is asked again for nothing. Longer: a body
/// that trickles keeps its worker for longer.
const WINDOW: Duration = Duration::from_secs(60);

/// Measures the time that a body is waited for: how slowly its reader takes it is not the store's fault.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second; 0 for any.
    rate_min: u64,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    pub fn new(rate_min: u64) -> Self {
        Self { rate_min, waited: Duration::ZERO, bytes: 0 }
    }

    /// Notes bytes that were waited for; why the body is broken off, if it comes too slowly.
    pub fn note(&mut self, waited: Duration, bytes: usize) -> Option<String> {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < WINDOW {
            return None;
        }
        let (bytes, seconds) = (self.bytes, self.waited.as_secs());
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        let is_slow = bytes < self.rate_min.saturating_mul(seconds);
        is_slow.then(|| format!("only {bytes} bytes came in {seconds} s (`rate_min` in [fetch])"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What is said while so many bytes come each second, for two windows.
    fn said(rate_min: u64, bytes: usize) -> Option<String> {
        let mut pace = Pace::new(rate_min);
        (0..120).find_map(|_| pace.note(SECOND, bytes))
    }

    #[test]
    fn a_body_that_trickles_is_broken_off_and_a_slow_one_is_not() {
        assert_eq!(said(1_024, 1_000).unwrap(), "only 60000 bytes came in 60 s (`rate_min` in [fetch])");
        assert_eq!(said(1_024, 1_024), None);
        assert_eq!(said(0, 0), None, "0 is for any");
    }

    #[test]
    fn what_was_fast_before_does_not_make_up_for_a_trickle() {
        let mut pace = Pace::new(1_024);
        assert_eq!(pace.note(WINDOW, 1 << 30), None);
        assert!(pace.note(WINDOW, 10).is_some());
    }

    #[test]
    fn time_that_the_reader_takes_is_not_counted() {
        let mut pace = Pace::new(1_024);
        assert_eq!(pace.note(SECOND, 10), None);
        assert_eq!(pace.note(SECOND, 10), None);
    }
}
