//! The whole inbox, and the daemons that use it.

use serde::Serialize;

use super::{Audited, ParkedTotals, stamp};
use crate::clock::UnixMs;
use crate::notice::{NoticeId, RouteName};
use crate::ops::health::Part;
use crate::record::Counts;

/// How often a daemon calls [`Ledger::report`](super::Ledger::report).
pub const REPORT_EVERY: std::time::Duration = std::time::Duration::from_secs(15);

/// For how long a daemon counts as alive after its last report: it may miss three.
pub const ALIVE_FOR: std::time::Duration = std::time::Duration::from_secs(60);

/// How the whole inbox is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The inbox.
    pub path: String,
    /// When this was asked.
    #[serde(serialize_with = "stamp::at")]
    pub at: UnixMs,
    /// Notices by state.
    pub notices: NoticeCounts,
    /// The oldest notice that is not finished.
    pub oldest_waiting: Option<Waiting>,
    /// What each route has to do and has done, by name.
    pub routes: Vec<RouteSummary>,
    /// Deliveries that ended as done in the last 24 hours (by whole hours), and their records.
    pub last_day: Done,
    /// What is parked.
    pub parked: ParkedTotals,
    /// Keys of notices that were pruned early: what comes again under one is a duplicate.
    pub outlived_keys: u64,
    /// What those take of the database, in bytes, about.
    pub outlived_keys_bytes: u64,
    /// Deliveries whose account does not add up; always 0 unless the file is damaged.
    pub unbalanced: u64,
    /// The latest audit, if there was one.
    pub audit: Option<Audited>,
    /// The database file, in bytes.
    pub database_bytes: u64,
    /// Bytes in it that are free to be used again.
    pub free_bytes: u64,
    /// The write-ahead log, in bytes.
    pub log_bytes: u64,
    /// The daemons that reported, and how their parts are.
    pub daemons: Vec<DaemonSummary>,
}

/// Notices by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NoticeCounts {
    /// [`NoticeState::Heard`](super::NoticeState::Heard).
    pub heard: u64,
    /// [`NoticeState::Open`](super::NoticeState::Open).
    pub open: u64,
    /// [`NoticeState::Finished`](super::NoticeState::Finished).
    pub finished: u64,
    /// [`NoticeState::Skipped`](super::NoticeState::Skipped).
    pub skipped: u64,
    /// [`NoticeState::Quarantined`](super::NoticeState::Quarantined).
    pub quarantined: u64,
    /// Finished ones that hold parked or quarantined records; kept until somebody decides.
    pub with_withheld_records: u64,
}

/// A notice that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Its number.
    pub notice: NoticeId,
    /// When it was stored.
    #[serde(serialize_with = "stamp::at")]
    pub stored: UnixMs,
}

/// What a route has to do and has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteSummary {
    /// The route.
    pub route: RouteName,
    /// Deliveries ready to be claimed.
    pub ready: u64,
    /// Deliveries that wait for their retry.
    pub waiting: u64,
    /// Deliveries that a worker has.
    pub claimed: u64,
    /// Deliveries set aside.
    pub quarantined: u64,
    /// What went wrong with the one that is tried again next.
    pub error: Option<String>,
    /// What was done in the last 24 hours.
    pub last_day: Done,
}

/// Deliveries that were done, and their records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// How many.
    pub deliveries: u64,
    /// Decompressed bytes read.
    pub bytes: u64,
    /// Their records.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A daemon, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonReport {
    /// Names it among those that share the inbox, such as `host/4711`.
    pub instance: String,
    /// `run`, `listen` or `work`.
    pub mode: String,
    /// Its process.
    pub pid: u32,
    /// The version of Longshore.
    pub version: String,
    /// When it started.
    pub started: UnixMs,
    /// How its parts are.
    pub parts: Vec<Part>,
}

/// A daemon that reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DaemonSummary {
    /// Names it among those that share the inbox.
    pub instance: String,
    /// `run`, `listen` or `work`.
    pub mode: String,
    /// Its process.
    pub pid: u32,
    /// The version of Longshore.
    pub version: String,
    /// When it started.
    #[serde(serialize_with = "stamp::at")]
    pub started: UnixMs,
    /// When it reported last.
    #[serde(serialize_with = "stamp::at")]
    pub heartbeat: UnixMs,
    /// Whether that was within [`ALIVE_FOR`].
    pub alive: bool,
    /// How its parts were then.
    #[serde(serialize_with = "stamp::parts")]
    pub parts: Vec<Part>,
}
