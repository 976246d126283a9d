//! How each part of the daemon is, and since when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::{Clock, UnixMs};

/// How a part is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "condition", rename_all = "kebab-case")]
pub enum Condition {
    /// It works; `note` says what it is doing, such as `connected to …`.
    Good {
        /// For people.
        note: String,
    },
    /// It is getting ready.
    Starting,
    /// It does not work for now, or somebody should look.
    Degraded {
        /// Why, and what to do.
        reason: String,
    },
}

/// A part's condition, and since when it has been so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Such as `feed eg`, `tokens`, `inbox`, `workers`.
    pub name: String,
    /// How it is.
    #[serde(flatten)]
    pub condition: Condition,
    /// Since when it is good, starting or degraded (a change of text alone does not count).
    pub since: UnixMs,
}

/// The conditions of all parts.
#[derive(Debug)]
pub struct Health {
    clock: Arc<dyn Clock>,
    parts: Mutex<BTreeMap<String, Part>>,
    claimed: Mutex<BTreeMap<String, u32>>,
    changes: watch::Sender<u64>,
}

impl Health {
    /// No parts yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, parts: Mutex::default(), claimed: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// A name for a part of which there may be several: `name` for the first who asks, then `name 2` and so on, so
    /// that none speaks over another.
    #[must_use]
    pub fn claim(&self, name: &str) -> String {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = claimed.entry(name.to_owned()).or_default();
        *count += 1;
        if *count == 1 { name.to_owned() } else { format!("{name} {count}") }
    }

    /// Says how the part `name` is now.
    pub fn set(&self, name: &str, condition: Condition) {
        let now = self.clock.now();
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match parts.get(name) {
            Some(part) if part.condition == condition => return,
            Some(part) if std::mem::discriminant(&part.condition) == std::mem::discriminant(&condition) => part.since,
            _ => now,
        };
        parts.insert(name.to_owned(), Part { name: name.to_owned(), condition, since });
        drop(parts);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Says that a degraded part works again; does nothing to a part in any other condition.
    pub fn recover(&self, name: &str) {
        let is_degraded = {
            let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.get(name).is_some_and(|part| matches!(part.condition, Condition::Degraded { .. }))
        };
        if is_degraded {
            self.set(name, Condition::Good { note: "works again".to_owned() });
        }
    }

    /// Every part, by name.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether every part has started.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts().iter().all(|part| part.condition != Condition::Starting)
    }

    /// Follows the changes: the value counts them.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    fn degraded(reason: &str) -> Condition {
        Condition::Degraded { reason: reason.to_owned() }
    }

    #[test]
    fn a_part_says_since_when_it_is_so_and_another_reason_does_not_start_the_time_anew() {
        let clock = ManualClock::new(UnixMs(1_000));
        let health = Health::new(Arc::new(clock.clone()));
        health.set("feed eg", degraded("refused"));
        clock.advance(Duration::from_secs(5));
        health.set("feed eg", degraded("timed out"));
        assert_eq!(health.parts()[0].since, UnixMs(1_000));
        health.recover("feed eg");
        assert_eq!(health.parts()[0].since, UnixMs(6_000));
    }

    #[test]
    fn a_daemon_is_ready_once_nothing_is_starting() {
        let health = Health::new(Arc::new(ManualClock::new(UnixMs(0))));
        health.set("feed eg", Condition::Starting);
        assert!(!health.is_ready());
        health.set("feed eg", degraded("cannot connect"));
        assert!(health.is_ready());
    }
}
