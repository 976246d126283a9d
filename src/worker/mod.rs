//! Workers: plan, claim, run, finish, retry.
//!
//! What always holds:
//!
//! 1. A delivery runs only under a claim; its lease is renewed while it runs, and once it is lost nothing more is
//!    written and the sink's transfer is dropped unfinished.
//! 2. Whether a failed delivery is tried again is decided on the class of its error alone (see [`retry`]).
//! 3. A delivery is done only when its account adds up.
//! 4. A record whose parent is missing is withheld before its batch goes to the sink, and what a batch says of entities
//!    is registered with the progress that the sink confirmed (see [`crate::inbox::parking`] for the whole).
//! 5. A stop gives every claim back: what finishes within the drain is finished, the rest is ready again at once.
//!
//! ```text
//!          pool: begins the loops, tells them what changes in the inbox, takes them down
//!            ┌─ planner: unplanned notices ─> router ─> deliveries
//!            ├─ waker: parked records whose parent landed ─> woken notices ─> deliveries
//! inbox ─────┤
//!            └─ claim × n: within the working hours, claim ─> lease
//!
//! lease: renew while it runs ─> run ─> outcome ─> done | retry (by class) | quarantine | give back
//! run:   open sink ─> open payload ─> intake: batch ─> unwrap, filter ─> missing ─> parents ─┐
//!                                     account: progress and counts <─ sink <─ withhold ──────┘
//! ```

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::inbox::{OnPoison, Ordering};

mod account;
mod claim;
mod intake;
mod lease;
mod missing;
mod outcome;
mod parents;
mod planner;
mod pool;
pub mod retry;
mod run;
mod tools;
mod wait;
mod waker;
mod window;

pub use claim::{Ended, Until};
pub use pool::Workers;
pub use retry::backoff;
pub use tools::Openers;
pub use window::Window;

/// How stored notices are worked off.
#[derive(Clone, Debug)]
pub struct WorkSettings {
    /// How many deliveries run at once.
    pub workers: usize,
    /// How many deliveries of one blob type run at once.
    pub per_blob_type_max: usize,
    /// In which order the files of one blob type are delivered.
    pub ordering: Ordering,
    /// What becomes of the files behind one that is quarantined, where they are delivered in order.
    pub on_poison: OnPoison,
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
    pub zone: TimeZone,
    /// How long a stop waits for deliveries in progress.
    pub drain: Duration,
}

impl WorkSettings {
    /// Whether a quarantined delivery holds up those behind it.
    #[must_use]
    pub fn stops_on_poison(&self) -> bool {
        self.ordering == Ordering::BlobType && self.on_poison == OnPoison::Stop
    }
}

impl Default for WorkSettings {
    fn default() -> Self {
        Self {
            workers: 4,
            per_blob_type_max: 4,
            ordering: Ordering::BlobType,
            on_poison: OnPoison::Quarantine,
            lease: Duration::from_secs(60),
            // With the waits below, twenty attempts span about two hours: an evening's maintenance of a sink.
            attempts_max: 20,
            retry: (Duration::from_secs(1), Duration::from_secs(600)),
            missing_object_for: Duration::from_secs(3_600),
            windows: Vec::new(),
            zone: TimeZone::UTC,
            drain: Duration::from_secs(25),
        }
    }
}
