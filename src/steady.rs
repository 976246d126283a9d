//! A clock that does not jump: what waits across processes goes by it, such as leases, retries, deadlines and retention.
//!
//! The wall clock can be set by a day, either way, at any moment. What is due at a moment of the wall clock would then come a
//! day early or a day late. One rule takes that away:
//!
//! > The steady clock never goes back, and follows the wall clock at half to double the speed of the machine's uptime.
//!
//! As long as nobody sets the wall clock, both are the same. When it is set forward, the steady clock takes as long as the
//! jump to catch up; when it is set back, twice as long. So a wait lasts between half of its time and double, whatever the
//! wall clock does.
//!
//! The last [`Reading`] is kept with what waits, so that the rule also holds between two runs and for several processes.
//! A machine that was off has no uptime to tell how long: a wall clock that is further on is then believed, and one that
//! is behind is not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, UnixMs, Uptime};

/// How far the wall clock may be off without being called wrong: more than time synchronisation corrects in one step while
/// it works, less than would hold up anything.
pub const LEAD_MAX: Duration = Duration::from_secs(30);

/// Catching up goes on from here at the latest. Shorter: the catching up stutters; longer: the first reading after a long
/// sleep would jump by that much.
const GAP_MAX_MS: i64 = 60_000;

/// A rule of proportion needs some time to be measured in: whole milliseconds are too coarse for half of one.
const STEP_MS: i64 = 1_000;

/// What a steady clock showed, and how long the machine was up then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it showed.
    pub at: UnixMs,
    /// The machine's uptime.
    pub uptime: Uptime,
}

impl Reading {
    /// What the steady clock shows later.
    fn later(self, wall: UnixMs, uptime: Uptime) -> UnixMs {
        if self.uptime.boot != uptime.boot {
            return wall.max(self.at);
        }
        let elapsed = uptime.ms.saturating_sub(self.uptime.ms).max(0);
        let expected = self.at.0.saturating_add(elapsed);
        let most = elapsed.min(GAP_MAX_MS);
        UnixMs(wall.0.clamp(expected - most / 2, expected.saturating_add(most)))
    }
}

/// A clock that follows another one without its jumps.
#[derive(Debug)]
pub struct SteadyClock {
    wall: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    from: Reading,
    told: UnixMs,
}

impl SteadyClock {
    /// Goes on from `last`; without it, begins with what `wall` shows.
    #[must_use]
    pub fn new(wall: Arc<dyn Clock>, last: Option<Reading>) -> Self {
        let (now, uptime) = (wall.now(), wall.uptime());
        let at = last.map_or(now, |last| last.later(now, uptime));
        Self { wall, state: Mutex::new(State { from: Reading { at, uptime }, told: at }) }
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        self.read().at
    }

    /// How far the wall clock is ahead, in milliseconds; negative where it is behind. 0 unless it was set.
    #[must_use]
    pub fn lead_ms(&self) -> i64 {
        let at = self.now();
        self.wall.now().0.saturating_sub(at.0)
    }

    /// What it shows, to be kept for the next run.
    #[must_use]
    pub fn read(&self) -> Reading {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, uptime) = (self.wall.now(), self.wall.uptime());
        state.told = state.told.max(state.from.later(wall, uptime));
        let reading = Reading { at: state.told, uptime };
        let is_step = uptime.boot != state.from.uptime.boot || uptime.ms - state.from.uptime.ms >= STEP_MS;
        if is_step {
            state.from = reading;
        }
        reading
    }
}

/// For people: what follows from a wall clock that is so far ahead.
#[must_use]
pub fn describe_lead(lead_ms: i64) -> String {
    let seconds = (lead_ms.unsigned_abs() + 500) / 1_000;
    let far = match seconds {
        7_200.. => format!("{} h", (seconds + 1_800) / 3_600),
        120.. => format!("{} min", (seconds + 30) / 60),
        _ => format!("{seconds} s"),
    };
    let (set, rule) = if lead_ms > 0 {
        ("forward", "leases, retries, deadlines and retention take that long to follow, so that nothing ends early")
    } else {
        ("back", "leases, retries, deadlines and retention go on and wait for it, so that nothing waits for the jump")
    };
    format!("was set {set} by about {far}: {rule}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;

    const START: UnixMs = UnixMs(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    const SECOND: Duration = Duration::from_secs(1);

    fn steady() -> (ManualClock, SteadyClock) {
        let clock = ManualClock::new(START);
        let steady = SteadyClock::new(Arc::new(clock.clone()), None);
        (clock, steady)
    }

    /// Lets `by` go by, and looks each second.
    fn pass(clock: &ManualClock, steady: &SteadyClock, by: Duration) {
        for _ in 0..by.as_secs() {
            clock.advance(SECOND);
            let _ = steady.now();
        }
    }

    #[test]
    fn it_shows_the_time_of_a_clock_that_nobody_sets() {
        let (clock, steady) = steady();
        for by in [SECOND, DAY, DAY * 1_000, Duration::from_millis(1)] {
            clock.advance(by);
            assert_eq!(steady.now(), clock.now());
        }
        assert_eq!(steady.lead_ms(), 0);
    }

    #[test]
    fn a_clock_that_is_set_forward_is_caught_up_with_in_as_long_as_the_jump() {
        let (clock, steady) = steady();
        clock.set(START.plus(DAY));
        assert_eq!((steady.now(), steady.lead_ms()), (START, 86_400_000));
        pass(&clock, &steady, DAY / 2);
        assert_eq!(steady.now(), START.plus(DAY), "at double speed");
        pass(&clock, &steady, DAY / 2);
        assert_eq!((steady.now(), steady.lead_ms()), (clock.now(), 0));
    }

    #[test]
    fn a_clock_that_is_set_back_is_waited_for_at_half_speed() {
        let (clock, steady) = steady();
        clock.set(START.minus(DAY));
        assert_eq!(steady.now(), START);
        pass(&clock, &steady, DAY);
        assert_eq!(steady.now(), START.plus(DAY / 2));
        pass(&clock, &steady, DAY);
        assert_eq!(steady.now(), clock.now());
    }

    #[test]
    fn between_two_runs_it_is_the_same() {
        let (clock, steady) = steady();
        pass(&clock, &steady, SECOND * 5);
        let last = steady.read();
        clock.advance(SECOND * 100);
        let again = |clock: &ManualClock| SteadyClock::new(Arc::new(clock.clone()), Some(last)).now();
        let expected = clock.now();
        assert_eq!(again(&clock), expected);
        clock.set(expected.plus(DAY));
        assert_eq!(again(&clock), expected.plus(Duration::from_millis(GAP_MAX_MS.unsigned_abs())));
        clock.set(expected.minus(DAY));
        assert_eq!(again(&clock), expected.minus(Duration::from_millis(GAP_MAX_MS.unsigned_abs() / 2)));
    }

    #[test]
    fn a_machine_that_was_off_is_believed_unless_it_goes_back() {
        let (clock, steady) = steady();
        let last = steady.read();
        clock.reboot();
        let again = |clock: &ManualClock| SteadyClock::new(Arc::new(clock.clone()), Some(last)).now();
        clock.set(START.plus(DAY));
        assert_eq!(again(&clock), START.plus(DAY));
        clock.set(START.minus(DAY));
        assert_eq!(again(&clock), START);
    }

    proptest! {
        #[test]
        fn whatever_the_clock_does_a_wait_lasts_half_to_double_its_time(
            steps in prop::collection::vec((0..90_000_u64, prop::option::of(-200_000_000..200_000_000_i64)), 1..60),
        ) {
            let (clock, steady) = steady();
            let (mut last, mut passed) = (steady.now(), 0_i64);
            for (by, jump) in steps {
                clock.advance(Duration::from_millis(by));
                passed += by.cast_signed();
                if let Some(jump) = jump {
                    clock.set(UnixMs(clock.now().0 + jump));
                }
                let now = steady.now();
                prop_assert!(now >= last, "it went back");
                last = now;
            }
            let shown = last.0 - START.0;
            // Whole milliseconds may each time be cut.
            prop_assert!(shown >= passed / 2 - 60 && shown <= passed * 2, "{shown} of {passed}");
        }
    }
}
