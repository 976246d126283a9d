//! The days of a bucket: which folder a day has, and which days a look goes through.

use std::time::Duration;

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};

use crate::clock::UnixMs;

/// The days that a look may list beyond today: a vendor's clock may be up to fourteen hours ahead of UTC.
const DAYS_AHEAD: i64 = 1;

/// Where the objects of a day lie: a prefix with a date in it, such as `%Y-%m-%d/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayFolder {
    pattern: String,
    is_dated: bool,
}

impl DayFolder {
    /// Reads a pattern: text with `%Y`, `%m` and `%d` (or `%F` for all three) in it, or text alone.
    ///
    /// # Errors
    /// Why it cannot be used, for people.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let is_dated = pattern.contains('%');
        let show = |date: Date| jiff::fmt::strtime::format(pattern, date).map_err(|error| error.to_string());
        // Days that differ in one part only: each part must stand in the pattern.
        let days = [(2026, 3, 4), (2026, 3, 5), (2026, 4, 4), (2027, 3, 4)];
        let shown = days
            .into_iter()
            .map(|(year, month, day)| show(Date::constant(year, month, day)))
            .collect::<Result<Vec<_>, _>>()?;
        if is_dated && shown[1..].contains(&shown[0]) {
            return Err("it does not tell one day from another; a day is %Y-%m-%d".to_owned());
        }
        if shown[0].trim_matches('/').is_empty() {
            return Err("it stands for the whole bucket".to_owned());
        }
        if shown[0].starts_with('/') {
            return Err("names in a bucket do not begin with `/`".to_owned());
        }
        Ok(Self { pattern: pattern.to_owned(), is_dated })
    }

    /// What the names of a day's objects begin with.
    #[must_use]
    pub fn prefix(&self, day: Date) -> String {
        jiff::fmt::strtime::format(&self.pattern, day).unwrap_or_else(|_| self.pattern.clone())
    }

    /// Whether days have folders of their own. If not, there is one prefix, and every look lists all under it.
    #[must_use]
    pub fn is_dated(&self) -> bool {
        self.is_dated
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

/// The days that a look lists, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) first: Date,
    pub(super) last: Date,
    /// Days before the first that nobody has listed and that the vendor has deleted by now.
    pub(super) lost_days: i64,
}

/// How far back a look goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub(super) backfill: Duration,
    pub(super) overlap: Duration,
    pub(super) retention: Option<Duration>,
}

impl Window {
    /// The days from `listed`, the last day up to which all are known, less the overlap; on a first start from as long
    /// ago as the backfill says. What is beyond the vendor's retention is gone and is not listed.
    pub(super) fn new(now: UnixMs, listed: Option<Date>, reach: Reach) -> Self {
        let today = day_of(now);
        let last = plus(today, DAYS_AHEAD);
        let first = match listed {
            None => plus(today, -whole_days(reach.backfill)),
            Some(listed) => plus(listed.min(today), -whole_days(reach.overlap)),
        };
        // The day on which the retention ends may still hold something.
        let oldest = reach.retention.map(|retention| plus(today, -whole_days(retention) - 1));
        match (oldest, listed) {
            (Some(oldest), Some(listed)) if first < oldest => {
                let lost_days = days_between(plus(listed, 1), oldest).max(0);
                Self { first: oldest, last, lost_days }
            }
            _ => Self { first, last, lost_days: 0 },
        }
    }

    pub(super) fn days(self) -> impl Iterator<Item = Date> {
        self.first.series(1.day()).take_while(move |day| *day <= self.last)
    }

    pub(super) fn len(self) -> u64 {
        u64::try_from(days_between(self.first, self.last) + 1).unwrap_or(0)
    }
}

pub(super) fn day_of(moment: UnixMs) -> Date {
    moment.to_timestamp().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// The first moment of a day, in UTC.
#[cfg(test)]
pub(super) fn begin_of(day: Date) -> UnixMs {
    let begin = day.to_zoned(jiff::tz::TimeZone::UTC);
    UnixMs(begin.map_or(0, |begin| begin.timestamp().as_millisecond()))
}

fn plus(day: Date, days: i64) -> Date {
    day.saturating_add(Span::new().days(days))
}

fn days_between(first: Date, last: Date) -> i64 {
    i64::from(first.duration_until(last).as_hours() as i32 / 24)
}

fn whole_days(time: Duration) -> i64 {
    // Bounded by the configuration to a hundred years.
    i64::try_from(time.as_secs().div_ceil(86_400)).unwrap_or(36_500).min(36_500)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn reach(retention: Option<u32>) -> Reach {
        Reach { backfill: 90 * DAY, overlap: 3 * DAY, retention: retention.map(|days| days * DAY) }
    }

    fn noon(day: Date) -> UnixMs {
        begin_of(day).plus(DAY / 2)
    }

    #[test]
    fn a_pattern_must_tell_days_apart_and_never_be_the_whole_bucket() {
        let folder = DayFolder::parse("export/%F/").expect("a pattern");
        assert_eq!(folder.prefix(date(2026, 11, 24)), "export/2026-11-24/");
        assert_eq!(DayFolder::parse("%d%m%Y_").expect("a pattern").prefix(date(2026, 11, 4)), "04112026_");
        assert!(!DayFolder::parse("incoming/").expect("a pattern").is_dated());
        for wrong in ["", "/", "%Y-%m/", "%m-%d/", "/%F/", "%Q"] {
            assert!(DayFolder::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_first_look_goes_back_as_far_as_the_backfill_and_later_ones_as_far_as_the_overlap() {
        let now = noon(date(2026, 11, 24));
        let first = Window::new(now, None, reach(Some(90)));
        assert_eq!((first.first, first.last), (date(2026, 8, 26), date(2026, 11, 25)));
        assert_eq!(first.len(), first.days().count() as u64);
        let later = Window::new(now, Some(date(2026, 11, 24)), reach(Some(90)));
        assert_eq!((later.first, later.last, later.len()), (date(2026, 11, 21), date(2026, 11, 25), 5));
        let after_an_outage = Window::new(now, Some(date(2026, 11, 1)), reach(Some(90)));
        assert_eq!((after_an_outage.first, after_an_outage.lost_days), (date(2026, 10, 29), 0));
        let from_the_future = Window::new(now, Some(date(2027, 1, 1)), reach(None));
        assert_eq!(from_the_future.first, date(2026, 11, 21));
    }

    #[test]
    fn days_that_the_vendor_deleted_before_anyone_listed_them_are_counted() {
        let now = noon(date(2026, 11, 24));
        let window = Window::new(now, Some(date(2026, 8, 1)), reach(Some(90)));
        assert_eq!(window.first, date(2026, 8, 25));
        // 2 August to 24 August.
        assert_eq!(window.lost_days, 23);
        assert_eq!(Window::new(now, Some(date(2026, 8, 27)), reach(Some(90))).lost_days, 0);
        assert_eq!(Window::new(now, Some(date(2026, 8, 1)), reach(None)).lost_days, 0);
    }
}
