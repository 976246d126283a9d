//! Whether what is expected has come: every day, by an hour, in a zone.
//!
//! Each day has a deadline, and is met by a file whose name says the day before; a file whose name says no day meets the
//! oldest day that is late, or else the next one. What is late is told until it comes, or for a week.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{ToSpan as _, Zoned};
use serde::{Deserialize, Serialize};

use super::saved;
use crate::clock::UnixMs;

/// For how many days what is late is told.
const TOLD_DAYS: i64 = 7;
/// For how many days it is remembered what came.
const REMEMBERED_DAYS: i64 = 62;
/// Where it is remembered, in the spool.
const FILE: &str = "arrivals";

/// What is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// On which days.
    pub every: Every,
    /// By when.
    pub by: Time,
    /// In which zone.
    pub zone: TimeZone,
}

/// On which days something is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum Every {
    /// On every day.
    #[default]
    Day,
    /// From Monday to Friday.
    Weekday,
}

/// What came, and what did not.
#[derive(Debug)]
pub(super) struct Arrivals {
    expect: Expect,
    folder: PathBuf,
    known: Known,
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    /// The first day that is looked at: what was due before the feed began is nobody's fault.
    since: Date,
    /// The days that were met.
    met: BTreeSet<Date>,
}

impl Arrivals {
    /// What is remembered in `folder`; where nothing is, days count from the next deadline on.
    pub(super) fn open(expect: Expect, folder: &Path, now: UnixMs) -> Self {
        let known = saved::read(folder, FILE).unwrap_or_else(|| {
            let now = local(now, &expect.zone);
            let since = if now.time() < expect.by { now.date() } else { tomorrow(now.date()) };
            Known { since, met: BTreeSet::new() }
        });
        let arrivals = Self { expect, folder: folder.to_owned(), known };
        // So that a restart before the first file does not move the beginning.
        arrivals.save();
        arrivals
    }

    /// A good file came whose name says `day`; `None` if it says none.
    pub(super) fn came(&mut self, day: Option<Date>, now: UnixMs) {
        let due = match day {
            Some(day) => tomorrow(day),
            None => match self.late(now).first() {
                Some(oldest) => *oldest,
                None => self.next_due(now),
            },
        };
        let today = local(now, &self.expect.zone).date();
        let oldest = today.saturating_sub(REMEMBERED_DAYS.days());
        self.known.met.insert(due);
        self.known.met.retain(|met| *met >= oldest);
        self.save();
    }

    /// The days whose deadline has passed and that nothing has met, oldest first.
    pub(super) fn late(&self, now: UnixMs) -> Vec<Date> {
        let now = local(now, &self.expect.zone);
        let first = self.known.since.max(now.date().saturating_sub(TOLD_DAYS.days()));
        first
            .series(1.day())
            .take_while(|day| *day < now.date() || (*day == now.date() && now.time() >= self.expect.by))
            .filter(|day| self.is_due_on(*day) && !self.known.met.contains(day))
            .collect()
    }

    /// What is late, for people; `None` if nothing is.
    pub(super) fn complaint(&self, now: UnixMs) -> Option<String> {
        let late = self.late(now);
        let oldest = late.first()?;
        let by = self.expect.by.strftime("%H:%M").to_string();
        let zone = self.expect.zone.iana_name().unwrap_or("local time");
        let more = match late.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more since"),
        };
        Some(format!("the file due on {oldest} by {by} {zone} has not come{more}; ask its sender"))
    }

    fn is_due_on(&self, day: Date) -> bool {
        match self.expect.every {
            Every::Day => true,
            Every::Weekday => !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday),
        }
    }

    /// The first day from now on that nothing has met.
    fn next_due(&self, now: UnixMs) -> Date {
        let today = local(now, &self.expect.zone).date();
        let next = today.series(1.day()).find(|day| self.is_due_on(*day) && !self.known.met.contains(day));
        next.unwrap_or(today)
    }

    fn save(&self) {
        if let Err(error) = saved::save(&self.folder, FILE, &self.known) {
            tracing::warn!(%error, "what came could not be remembered");
        }
    }
}

fn local(now: UnixMs, zone: &TimeZone) -> Zoned {
    now.to_timestamp().to_zoned(zone.clone())
}

fn tomorrow(day: Date) -> Date {
    day.saturating_add(1.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven in the morning there is half past one in UTC.
    fn expect(every: Every) -> Expect {
        Expect { every, by: Time::constant(7, 0, 0, 0), zone: TimeZone::get("Asia/Kolkata").expect("a zone") }
    }

    fn at(text: &str) -> UnixMs {
        UnixMs(text.parse::<jiff::Timestamp>().expect("a moment").as_millisecond())
    }

    fn day(text: &str) -> Date {
        text.parse().expect("a day")
    }

    #[test]
    fn a_day_is_late_from_its_deadline_in_its_zone_until_its_file_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut arrivals = Arrivals::open(expect(Every::Day), folder.path(), at("2022-01-02T00:00:00Z"));
        assert_eq!(arrivals.late(at("2022-01-02T01:29:59Z")), []);
        assert_eq!(arrivals.late(at("2022-01-02T01:30:00Z")), [day("2022-01-02")]);
        let complaint = arrivals.complaint(at("2022-01-03T02:00:00Z")).expect("late");
        assert_eq!(
            complaint,
            "the file due on 2022-01-02 by 07:00 Asia/Kolkata has not come, and 1 more since; ask its sender"
        );
        // The later one first: the earlier stays late, also after a restart.
        arrivals.came(Some(day("2022-01-02")), at("2022-01-03T02:00:00Z"));
        let mut arrivals = Arrivals::open(expect(Every::Day), folder.path(), at("2022-01-03T02:00:00Z"));
        assert_eq!(arrivals.late(at("2022-01-03T02:00:00Z")), [day("2022-01-02")]);
        arrivals.came(Some(day("2022-01-01")), at("2022-01-05T00:00:00Z"));
        assert_eq!(arrivals.late(at("2022-01-03T02:00:00Z")), []);
    }

    #[test]
    fn files_that_say_no_day_meet_the_oldest_late_one_and_then_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut arrivals = Arrivals::open(expect(Every::Day), folder.path(), at("2022-01-02T00:00:00Z"));
        let now = at("2022-01-03T02:00:00Z");
        assert_eq!(arrivals.late(now).len(), 2);
        arrivals.came(None, now);
        assert_eq!(arrivals.late(now), [day("2022-01-03")]);
        arrivals.came(None, now);
        arrivals.came(None, now);
        assert_eq!(arrivals.late(at("2022-01-04T02:00:00Z")), []);
        assert_eq!(arrivals.late(at("2022-01-05T02:00:00Z")), [day("2022-01-05")]);
    }

    #[test]
    fn what_was_due_before_the_beginning_or_on_a_day_off_is_not_late_and_a_week_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        // A Friday, after the deadline.
        let arrivals = Arrivals::open(expect(Every::Weekday), folder.path(), at("2022-01-07T03:00:00Z"));
        assert_eq!(arrivals.late(at("2022-01-09T20:00:00Z")), []);
        assert_eq!(arrivals.late(at("2022-01-10T02:00:00Z")), [day("2022-01-10")]);
        assert_eq!(arrivals.late(at("2022-03-10T02:00:00Z")).len(), 6);
    }
}
