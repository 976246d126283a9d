//! How far our clock is from theirs, as the `Date` of an HTTP answer tells it. A wrong clock breaks assertions and tokens in
//! ways that look like refused access.

use std::time::Duration;

use http::HeaderMap;
use http::header::DATE;

use crate::clock::UnixMs;
use crate::ops::{Condition, Health};
use crate::retry_after::http_date;

/// From here on somebody should look. `Date` counts whole seconds and an answer takes a moment, so less would be noise.
pub(super) const WARN_AT: Duration = Duration::from_secs(5);

/// The part that reports in the health.
const PART: &str = "clock";

/// How far ahead of ours another clock is, in milliseconds; negative when ours is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew(pub i64);

impl Skew {
    /// What an answer that came just now tells; `None` without a `Date` that can be read.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap, now: UnixMs) -> Option<Self> {
        let theirs = http_date(headers.get(DATE)?.to_str().ok()?)?;
        // The date is cut to the second: on average the other clock is half a second further.
        Some(Self(theirs.0 + 500 - now.0))
    }

    /// Whether somebody should look.
    #[must_use]
    pub fn is_large(self) -> bool {
        u128::from(self.0.unsigned_abs()) >= WARN_AT.as_millis()
    }

    /// For people.
    #[must_use]
    pub fn describe(self) -> String {
        let seconds = self.0.unsigned_abs() / 1_000;
        match self.0 {
            _ if !self.is_large() => "agrees with the vendor's to a few seconds".to_owned(),
            ahead if ahead > 0 => format!("is {seconds} s behind the vendor's"),
            _ => format!("is {seconds} s ahead of the vendor's"),
        }
    }

    /// Says in the health whether the clocks agree.
    pub fn report(self, health: &Health) {
        if self.is_large() {
            tracing::warn!(skew_ms = self.0, "this machine's clock {}", self.describe());
            let reason = format!("this machine's clock {}; check its time synchronisation", self.describe());
            health.set(PART, Condition::Degraded { reason });
        } else {
            health.set(PART, Condition::Good { note: self.describe() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // 1994-11-06T08:49:37Z
    const NOW: UnixMs = UnixMs(784_111_777_000);

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header value"))])
    }

    #[test]
    fn the_skew_is_read_from_the_date() {
        let skew = |date: &str| Skew::from_headers(&headers(DATE, date), NOW);
        assert_eq!(skew("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Skew(500)));
        let behind = skew("Sun, 06 Nov 1994 08:50:37 GMT").expect("a date");
        assert!(behind.is_large());
        assert_eq!(behind.describe(), "is 60 s behind the vendor's");
        let ahead = skew("Sun, 06 Nov 1994 08:49:27 GMT").expect("a date");
        assert_eq!(ahead.describe(), "is 9 s ahead of the vendor's");
        assert_eq!(skew("yesterday"), None);
    }
}
