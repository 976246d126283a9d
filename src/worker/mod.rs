//! Workers: claim, run, finish, retry, rescue.

use std::time::Duration;

use crate::inbox::Ordering;

/// How stored notices are worked off.
#[derive(Clone, Debug)]
pub struct WorkSettings {
    /// How many deliveries run at once.
    pub workers: usize,
    /// How many deliveries of one blob type run at once.
    pub per_blob_type_max: usize,
    /// In which order the files of one blob type are delivered.
    pub ordering: Ordering,
    /// For how long a delivery is claimed unless renewed.
    pub lease: Duration,
    /// Attempts before a delivery is quarantined.
    pub attempts_max: u32,
    /// First and longest wait between attempts.
    pub retry: (Duration, Duration),
    /// How long a blob that is not there is asked for again before the notice is quarantined.
    pub missing_object_for: Duration,
    /// Hours in which work is done, such as `22:00-06:00`; empty for always.
    pub windows: Vec<Window>,
    /// The time zone of the windows.
    pub zone: jiff::tz::TimeZone,
    /// How long a stop waits for deliveries in progress.
    pub drain: Duration,
}

/// Hours of the day in which work is done; `from` after `to` spans midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub from: jiff::civil::Time,
    /// The first moment after.
    pub to: jiff::civil::Time,
}
