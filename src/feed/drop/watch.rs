//! Whether a file is complete: its size and time have stood still for a while, seen by our own clock.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::source::{Listed, Stamp};

/// The files that are waited for.
#[derive(Debug, Default)]
pub(super) struct Watch(HashMap<String, Seen>);

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    since: Instant,
    /// Since when this version is known not to be whole.
    broken: Option<Broken>,
}

#[derive(Debug)]
struct Broken {
    since: Instant,
    next_look: Instant,
    pause: Duration,
}

/// What is to be done about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Not before this moment.
    Wait(Instant),
    /// Copy it and look whether it is whole.
    Take,
    /// As [`Decision::Take`], and what is not whole by now is set aside.
    TakeAsItIs,
}

impl Watch {
    /// What is to be done about a file that was seen at `now`.
    pub(super) fn decide(
        &mut self,
        file: &Listed,
        now: Instant,
        stable_for: Duration,
        incomplete_for: Duration,
    ) -> Decision {
        let seen = self.0.entry(file.name.clone()).or_insert_with(|| Seen::new(file.stamp.clone(), now));
        if seen.stamp != file.stamp {
            *seen = Seen::new(file.stamp.clone(), now);
        }
        let stable = seen.since + stable_for;
        match &seen.broken {
            _ if now < stable => Decision::Wait(stable),
            None => Decision::Take,
            Some(broken) if now >= broken.since + incomplete_for => Decision::TakeAsItIs,
            Some(broken) if now >= broken.next_look => Decision::Take,
            Some(broken) => Decision::Wait(broken.next_look.min(broken.since + incomplete_for)),
        }
    }

    /// The version that was looked at is not whole: it is left alone for a while, longer each time, unless it changes.
    pub(super) fn not_whole(&mut self, name: &str, now: Instant, stable_for: Duration) {
        let Some(seen) = self.0.get_mut(name) else { return };
        let broken = seen.broken.get_or_insert(Broken { since: now, next_look: now, pause: stable_for });
        broken.pause *= 2;
        broken.next_look = now + broken.pause;
    }

    /// The file is to stand still for a while from now on: it changed while it was copied.
    pub(super) fn start_over(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Forgets the files that are not there any more.
    pub(super) fn keep_only(&mut self, there: &HashSet<&str>) {
        self.0.retain(|name, _| there.contains(name.as_str()));
    }
}

impl Seen {
    fn new(stamp: Stamp, now: Instant) -> Self {
        Self { stamp, since: now, broken: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STABLE: Duration = Duration::from_secs(10);
    const PATIENCE: Duration = Duration::from_secs(3_600);

    fn file(size: u64) -> Listed {
        Listed { name: "f".to_owned(), stamp: Stamp { size, modified_ms: None, tag: String::new() } }
    }

    #[test]
    fn a_file_is_taken_when_it_has_stood_still_and_a_change_starts_the_time_anew() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let mut at = |size, seconds| watch.decide(&file(size), start + Duration::from_secs(seconds), STABLE, PATIENCE);
        assert_eq!(at(1, 0), Decision::Wait(start + STABLE));
        assert_eq!(at(2, 9), Decision::Wait(start + Duration::from_secs(19)));
        assert_eq!(at(2, 18), Decision::Wait(start + Duration::from_secs(19)));
        assert_eq!(at(2, 19), Decision::Take);
    }

    #[test]
    fn one_that_is_not_whole_is_looked_at_seldom_and_set_aside_in_the_end() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        watch.decide(&file(1), start, STABLE, PATIENCE);
        let first = start + STABLE;
        assert_eq!(watch.decide(&file(1), first, STABLE, PATIENCE), Decision::Take);
        watch.not_whole("f", first, STABLE);
        assert_eq!(watch.decide(&file(1), first, STABLE, PATIENCE), Decision::Wait(first + 2 * STABLE));
        watch.not_whole("f", first + 2 * STABLE, STABLE);
        assert_eq!(watch.decide(&file(1), first + 2 * STABLE, STABLE, PATIENCE), Decision::Wait(first + 6 * STABLE));
        assert_eq!(watch.decide(&file(1), first + PATIENCE, STABLE, PATIENCE), Decision::TakeAsItIs);
        let changed = watch.decide(&file(2), first + PATIENCE, STABLE, PATIENCE);
        assert_eq!(changed, Decision::Wait(first + PATIENCE + STABLE), "what grows is not given up");
    }
}
