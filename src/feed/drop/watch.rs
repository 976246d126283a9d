//! Whether a file is complete: its size and time have stood still for a while, seen by our own clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::saved;
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
    reason: String,
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
    pub(super) fn not_whole(&mut self, name: &str, reason: String, now: Instant, stable_for: Duration) {
        let Some(seen) = self.0.get_mut(name) else { return };
        let first = Broken { reason: String::new(), since: now, next_look: now, pause: stable_for };
        let broken = seen.broken.get_or_insert(first);
        broken.reason = reason;
        broken.pause *= 2;
        broken.next_look = now + broken.pause;
    }

    /// The file is to stand still for a while from now on: it changed while it was copied.
    pub(super) fn start_over(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// What was found not to be whole, and is waited for.
    pub(super) fn incomplete(&self) -> Incomplete {
        let found = self.0.iter().filter_map(|(name, seen)| {
            let reason = seen.broken.as_ref()?.reason.clone();
            Some((name.clone(), Fault { stamp: seen.stamp.clone(), reason }))
        });
        Incomplete(found.collect())
    }

    /// Forgets the files that are not there any more.
    pub(super) fn keep_only(&mut self, there: &HashSet<&str>) {
        self.0.retain(|name, _| there.contains(name.as_str()));
    }
}

/// The files that were found not to be whole, by name: for people, who ask beside the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Incomplete(BTreeMap<String, Fault>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fault {
    stamp: Stamp,
    reason: String,
}

/// Where that is told, in the spool.
const FILE: &str = "incomplete";

impl Incomplete {
    /// What was saved in `folder`; nothing, if that cannot be read.
    pub(super) fn read(folder: &Path) -> Self {
        saved::read(folder, FILE).unwrap_or_default()
    }

    /// Saves it in `folder`. It need not be durable, and its loss is said and borne.
    pub(super) fn save(&self, folder: &Path) {
        if let Err(error) = saved::save(folder, FILE, self) {
            tracing::warn!(%error, "which files are not whole could not be noted");
        }
    }

    /// How many files that are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Why this version of a file was found not to be whole.
    pub(super) fn reason(&self, name: &str, stamp: &Stamp) -> Option<&str> {
        self.0.get(name).filter(|fault| fault.stamp == *stamp).map(|fault| fault.reason.as_str())
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
        watch.not_whole("f", "half".to_owned(), first, STABLE);
        assert_eq!(watch.decide(&file(1), first, STABLE, PATIENCE), Decision::Wait(first + 2 * STABLE));
        watch.not_whole("f", "half still".to_owned(), first + 2 * STABLE, STABLE);
        let folder = tempfile::tempdir().expect("a folder");
        watch.incomplete().save(folder.path());
        let told = Incomplete::read(folder.path());
        assert_eq!(told.reason("f", &file(1).stamp), Some("half still"));
        assert_eq!(told.reason("f", &file(2).stamp), None, "that is another version");
        assert_eq!(watch.decide(&file(1), first + 2 * STABLE, STABLE, PATIENCE), Decision::Wait(first + 6 * STABLE));
        assert_eq!(watch.decide(&file(1), first + PATIENCE, STABLE, PATIENCE), Decision::TakeAsItIs);
        let changed = watch.decide(&file(2), first + PATIENCE, STABLE, PATIENCE);
        assert_eq!(changed, Decision::Wait(first + PATIENCE + STABLE), "what grows is not given up");
    }
}
