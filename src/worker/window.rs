//! Hours in which work is done.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::clock::UnixMs;

/// Hours of the day in which work is done; `from` after `to` spans midnight, `from` equal to `to` is the whole day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub from: Time,
    /// The first moment after.
    pub to: Time,
}

impl Window {
    fn contains(&self, time: Time) -> bool {
        match self.from.cmp(&self.to) {
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Less => self.from <= time && time < self.to,
            std::cmp::Ordering::Greater => self.from <= time || time < self.to,
        }
    }
}

/// Whether work is done at `now`. With no window at all, it always is.
#[must_use]
pub fn is_open(windows: &[Window], zone: &TimeZone, now: UnixMs) -> bool {
    let time = now.to_timestamp().to_zoned(zone.clone()).time();
    windows.is_empty() || windows.iter().any(|window| window.contains(time))
}

/// How long after `now` it is worth looking at the windows again: the time to the next edge of one by the clock on
/// the wall, at most a minute, so that a change of the clock or of summer time is never slept through.
#[must_use]
pub fn look_again_in(windows: &[Window], zone: &TimeZone, now: UnixMs) -> Duration {
    const AT_MOST: Duration = Duration::from_secs(60);
    let time = now.to_timestamp().to_zoned(zone.clone()).time();
    windows
        .iter()
        .flat_map(|window| [window.from, window.to])
        .filter_map(|edge| {
            Duration::try_from(time.until(edge).ok()?.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?).ok()
        })
        .filter(|wait| !wait.is_zero())
        .min()
        .map_or(AT_MOST, |wait| wait.min(AT_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::time;

    fn at(text: &str) -> UnixMs {
        UnixMs(text.parse::<jiff::Timestamp>().expect("test time").as_millisecond())
    }

    #[test]
    fn a_window_may_span_midnight() {
        let night = [Window { from: time(22, 0, 0, 0), to: time(6, 0, 0, 0) }];
        let zone = TimeZone::UTC;
        assert!(is_open(&night, &zone, at("2026-03-01T23:30:00Z")));
        assert!(is_open(&night, &zone, at("2026-03-01T05:59:59Z")));
        assert!(!is_open(&night, &zone, at("2026-03-01T06:00:00Z")));
        assert!(!is_open(&night, &zone, at("2026-03-01T12:00:00Z")));
    }

    #[test]
    fn no_window_means_always() {
        assert!(is_open(&[], &TimeZone::UTC, at("2026-03-01T12:00:00Z")));
    }

    #[test]
    fn the_next_look_is_at_the_edge_and_never_later_than_a_minute() {
        let night = [Window { from: time(22, 0, 0, 0), to: time(6, 0, 0, 0) }];
        assert_eq!(look_again_in(&night, &TimeZone::UTC, at("2026-03-01T21:59:30Z")), Duration::from_secs(30));
        assert_eq!(look_again_in(&night, &TimeZone::UTC, at("2026-03-01T12:00:00Z")), Duration::from_secs(60));
    }
}
