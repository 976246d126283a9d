//! Fail points: places between two commits where a test can have the process end, as abruptly as by kill -9.
//!
//! `LONGSHORE_FAIL_POINT=stored` ends it when it gets there, `stored:3` when it gets there for the third time. Only debug
//! builds have them: in a release build [`reach`] has no body, is inlined, and leaves nothing behind.

/// A place where the process can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPoint {
    /// Notices are committed, and their source is not told.
    Stored,
    /// The source is told, and the inbox has not noted that.
    Settled,
    /// It is decided where notices go, and not written down.
    Planning,
    /// Where notices go is written down.
    Planned,
    /// A delivery is claimed, and nothing of it is done.
    Claimed,
    /// A record's parent is missing, and it is not decided what becomes of it.
    Parking,
    /// That is decided, and the rest of its batch is not on its way.
    Parked,
    /// A sink confirmed a batch, and the progress is not stored.
    Confirmed,
    /// The progress is stored.
    Progressed,
    /// A file is whole and durable under its temporary name.
    Renaming,
    /// A file has its name, and its folder is not synced.
    Renamed,
    /// Everything of a delivery is confirmed, and its end is not stored.
    Finishing,
    /// The end of a delivery is stored.
    Finished,
    /// Parking has something to do, and has not begun a step of it.
    Waking,
    /// Parked records were turned into a notice that goes on.
    Woken,
}

impl FailPoint {
    /// All of them, in the order in which a notice passes them.
    pub const ALL: [Self; 15] = [
        Self::Stored,
        Self::Settled,
        Self::Planning,
        Self::Planned,
        Self::Claimed,
        Self::Parking,
        Self::Parked,
        Self::Confirmed,
        Self::Progressed,
        Self::Renaming,
        Self::Renamed,
        Self::Finishing,
        Self::Finished,
        Self::Waking,
        Self::Woken,
    ];

    /// Its name in `LONGSHORE_FAIL_POINT`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Settled => "settled",
            Self::Planning => "planning",
            Self::Planned => "planned",
            Self::Claimed => "claimed",
            Self::Parking => "parking",
            Self::Parked => "parked",
            Self::Confirmed => "confirmed",
            Self::Progressed => "progressed",
            Self::Renaming => "renaming",
            Self::Renamed => "renamed",
            Self::Finishing => "finishing",
            Self::Finished => "finished",
            Self::Waking => "waking",
            Self::Woken => "woken",
        }
    }
}

/// The variable that names the fail point in force.
pub const VARIABLE: &str = "LONGSHORE_FAIL_POINT";

/// Ends the process here, if a test asked for it.
#[inline(always)]
pub fn reach(point: FailPoint) {
    #[cfg(debug_assertions)]
    armed::reach(point);
    #[cfg(not(debug_assertions))]
    let _ = point;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{FailPoint, VARIABLE};

    struct Armed {
        name: String,
        /// How often it is still passed.
        left: AtomicU32,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    fn read() -> Option<Armed> {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        let left = AtomicU32::new(count.parse().ok()?);
        Some(Armed { name: name.to_owned(), left })
    }

    pub(super) fn reach(point: FailPoint) {
        let Some(armed) = ARMED.get_or_init(read) else { return };
        if armed.name == point.name() && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Nothing is unwound, flushed or dropped.
            std::process::abort();
        }
    }
}
