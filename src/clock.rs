//! Time comes in through a [`Clock`], so that tests can move it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// This moment moved later by `by`; saturates.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(by_ms))
    }

    /// This moment moved earlier by `by`; saturates.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(by_ms))
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The same moment as a `jiff` timestamp; clamped to the years that `jiff` knows.
    #[must_use]
    pub fn to_timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-03-01T09:30:00.000Z`.
impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_timestamp())
    }
}

/// One start of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub u128);

/// How long the machine has been up, sleep included: nobody can set that, so it tells a clock that was set from time
/// that went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uptime {
    /// Since which start.
    pub boot: BootId,
    /// How long, in milliseconds.
    pub ms: i64,
}

/// Where the time of day comes from.
///
/// Durations (leases held in memory, time limits, back-off) are measured with `tokio::time`, which tests can pause. What
/// is measured across processes goes by [`crate::steady::SteadyClock`].
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment by the wall clock, which may be set at any moment.
    fn now(&self) -> UnixMs;

    /// How long the machine has been up.
    fn uptime(&self) -> Uptime;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> UnixMs {
        UnixMs(jiff::Timestamp::now().as_millisecond())
    }

    fn uptime(&self) -> Uptime {
        let read = rustix::time::clock_gettime(UPTIME);
        let ms = read.tv_sec.saturating_mul(1_000).saturating_add(read.tv_nsec / 1_000_000);
        Uptime { boot: boot_id(), ms }
    }
}

#[cfg(target_os = "linux")]
const UPTIME: rustix::time::ClockId = rustix::time::ClockId::Boottime;
/// Sleep is not counted here: waking up looks like a clock that was set forward, which delays and does no harm.
#[cfg(not(target_os = "linux"))]
const UPTIME: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

/// The kernel's name for this start of the machine; where it gives none, each process counts as a start.
fn boot_id() -> BootId {
    static BOOT: OnceLock<BootId> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let named = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let named = named.and_then(|text| uuid::Uuid::try_parse(text.trim()).ok());
        BootId(named.unwrap_or_else(uuid::Uuid::new_v4).as_u128())
    })
}

/// A clock that stands still until a test moves it.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Manual>);

#[derive(Debug)]
struct Manual {
    now: AtomicI64,
    uptime: AtomicI64,
    boots: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: UnixMs) -> Self {
        Self(Arc::new(Manual { now: AtomicI64::new(start.0), uptime: AtomicI64::new(0), boots: AtomicI64::new(0) }))
    }

    /// Time goes by.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.now.fetch_add(by_ms, Ordering::SeqCst);
        self.0.uptime.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// The wall clock is set, forward or back, without any time going by.
    pub fn set(&self, to: UnixMs) {
        self.0.now.store(to.0, Ordering::SeqCst);
    }

    /// The machine is started anew.
    pub fn reboot(&self) {
        self.0.uptime.store(0, Ordering::SeqCst);
        self.0.boots.fetch_add(1, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.now.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Uptime {
        let boot = BootId(self.0.boots.load(Ordering::SeqCst).unsigned_abs().into());
        Uptime { boot, ms: self.0.uptime.load(Ordering::SeqCst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_rfc_3339() {
        assert_eq!(UnixMs(1_656_979_200_000).to_string(), "2022-07-05T00:00:00.000Z");
    }
}
