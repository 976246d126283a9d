//! What the vendor is about to delete: said long before, not after.

use std::time::Duration;

use crate::clock::UnixMs;

/// What is known of a feed when it looks at the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) now: UnixMs,
    /// When the whole window was last listed.
    pub(super) listed: Option<UnixMs>,
    /// When the oldest object was written that is heard and not delivered.
    pub(super) oldest_unfinished: Option<UnixMs>,
}

/// The time after which the vendor deletes an object, and how long before we speak of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) retention: Duration,
    pub(super) warning: Duration,
}

impl Standing {
    /// Seconds until the vendor deletes something that we have not; negative once it has.
    pub(super) fn left_seconds(self, limits: Limits) -> Option<i64> {
        let since = [self.listed, self.oldest_unfinished].into_iter().flatten().min()?;
        let retention_ms = i64::try_from(limits.retention.as_millis()).unwrap_or(i64::MAX);
        Some((retention_ms - (self.now.0 - since.0)) / 1_000)
    }

    /// What a person should hear, if anything.
    pub(super) fn warning(self, limits: Limits) -> Option<String> {
        let soon = |since: UnixMs| self.now.since(since) + limits.warning >= limits.retention;
        let days = |time: Duration| time.as_secs() / 86_400;
        let left = |since: UnixMs| days(limits.retention.saturating_sub(self.now.since(since)));
        if let Some(oldest) = self.oldest_unfinished.filter(|oldest| soon(*oldest)) {
            return Some(format!(
                "an object of {oldest} is not delivered yet, and the vendor deletes it in {} d: see `longshore status` for \
                 what holds it up",
                left(oldest)
            ));
        }
        let listed = self.listed.filter(|listed| soon(*listed))?;
        Some(format!(
            "the bucket was last listed {} d ago, and the vendor deletes what was written then in {} d",
            days(self.now.since(listed)),
            left(listed)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const LIMITS: Limits =
        Limits { retention: Duration::from_secs(90 * 86_400), warning: Duration::from_secs(30 * 86_400) };

    fn at(day: u32) -> UnixMs {
        UnixMs(0).plus(day * DAY)
    }

    #[test]
    fn what_would_be_lost_is_said_long_before() {
        let good = Standing { now: at(200), listed: Some(at(200)), oldest_unfinished: Some(at(150)) };
        assert_eq!(good.warning(LIMITS), None);
        assert_eq!(good.left_seconds(LIMITS), Some(40 * 86_400));
        let held_up = Standing { oldest_unfinished: Some(at(139)), ..good };
        assert!(held_up.warning(LIMITS).expect("a warning").contains("deletes it in 29 d"));
        let not_listed = Standing { listed: Some(at(139)), oldest_unfinished: None, ..good };
        assert!(not_listed.warning(LIMITS).expect("a warning").contains("last listed 61 d ago"));
        let too_late = Standing { oldest_unfinished: Some(at(100)), ..good };
        assert_eq!(too_late.left_seconds(LIMITS), Some(-10 * 86_400));
        assert!(too_late.warning(LIMITS).is_some());
        let fresh = Standing { listed: None, oldest_unfinished: None, ..good };
        assert_eq!((fresh.warning(LIMITS), fresh.left_seconds(LIMITS)), (None, None));
    }
}
