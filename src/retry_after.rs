//! What `Retry-After` asks for (RFC 9110, section 10.2.3): seconds, or an HTTP date.
//!
//! A date is held against the `Date` of the same answer: both are of their clock, and ours may be wrong by hours. Only an
//! answer that does not say when it was given is held against ours.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};

use crate::clock::UnixMs;

/// Nobody is waited for longer than this at a time: a wrong number must not put work off for years.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);

/// How long the other side asks us to wait; `None` if it does not say, or says it by a date and neither its clock nor `now`
/// is known.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Option<UnixMs>) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?;
    let wait = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // So many digits that they do not fit are beyond the bound anyway.
        value.parse().map_or(WAIT_MAX, Duration::from_secs)
    } else {
        let until = http_date(value)?;
        until.since(text(headers, DATE).and_then(http_date).or(now)?)
    };
    Some(wait.min(WAIT_MAX))
}

/// A date as HTTP writes it, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(text: &str) -> Option<UnixMs> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(UnixMs(parsed.as_millisecond()))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2022-07-05T00:00:00Z
    const NOW: UnixMs = UnixMs(1_656_979_200_000);

    fn wait(value: &str, date: Option<&str>, now: Option<UnixMs>) -> Option<Duration> {
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().expect("a header value"))]);
        if let Some(date) = date {
            headers.insert(DATE, date.parse().expect("a header value"));
        }
        retry_after(&headers, now)
    }

    #[test]
    fn the_wait_that_is_asked_for_is_read_in_both_forms() {
        let ours = |value: &str| wait(value, None, Some(NOW));
        assert_eq!(ours("120"), Some(Duration::from_secs(120)));
        assert_eq!(ours("Tue, 05 Jul 2022 00:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(ours("Mon, 04 Jul 2022 00:01:30 GMT"), Some(Duration::ZERO));
        assert_eq!(ours("99999999999999999999999"), Some(WAIT_MAX));
        assert_eq!(ours("Tue, 05 Jul 2033 00:01:30 GMT"), Some(WAIT_MAX));
        for (value, seconds) in [("0", 0), ("86399", 86_399), ("86400", 86_400), ("86401", 86_400)] {
            assert_eq!(ours(value), Some(Duration::from_secs(seconds)), "{value}");
        }
        assert_eq!(ours("Tue, 05 Jul 2022 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(ours("Tue, 05 Jul 2022 00:00:01 GMT"), Some(Duration::from_secs(1)));
        assert_eq!(ours("Tue, 05 Jul 2022 23:59:59 GMT"), Some(Duration::from_secs(86_399)));
        assert_eq!(ours("Wed, 06 Jul 2022 00:00:01 GMT"), Some(WAIT_MAX));
        for wrong in ["1.5", "+5", "5 s", "soon", "-5", ""] {
            assert_eq!(ours(wrong), None, "{wrong}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Some(NOW)), None);
    }

    #[test]
    fn a_date_is_held_against_the_clock_that_wrote_it() {
        let until = "Tue, 05 Jul 2022 03:01:30 GMT";
        let theirs = Some("Tue, 05 Jul 2022 03:00:00 GMT");
        // Ours is three hours behind, or a year ahead, or not known.
        for ours in [Some(NOW), Some(UnixMs(NOW.0 + 365 * 86_400_000)), None] {
            assert_eq!(wait(until, theirs, ours), Some(Duration::from_secs(90)), "{ours:?}");
        }
        assert_eq!(wait(until, None, None), None);
        assert_eq!(wait(until, Some("yesterday"), Some(NOW)), Some(Duration::from_secs(3 * 3_600 + 90)));
        assert_eq!(wait("7", theirs, Some(NOW)), Some(Duration::from_secs(7)), "seconds need no clock");
    }
}
