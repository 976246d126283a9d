//! When an event is sent again, as fulfillmenttools documents it: 20 seconds after the first failure, growing to 600
//! seconds, then every 600; dropped after seven days.

use std::time::Duration;

/// How long after the first failure it is sent again.
const FIRST: Duration = Duration::from_secs(20);
/// What the wait grows to. How it grows is not documented; here it doubles.
const LONGEST: Duration = Duration::from_secs(600);
/// How long after the first attempt it is given up.
pub(super) const GIVEN_UP_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long to wait after so many failures, at least one.
pub(super) fn wait(failures: u32) -> Duration {
    let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(doubled).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_from_20_to_600_seconds_and_stays_there() {
        let waits: Vec<u64> = (1..=8).map(|failures| wait(failures).as_secs()).collect();
        assert_eq!(waits, [20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(wait(u32::MAX), LONGEST);
    }
}
